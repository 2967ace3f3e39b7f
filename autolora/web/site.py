"""What all routes of one running page share."""

import logging
from dataclasses import dataclass, field
from pathlib import Path

from fastapi import HTTPException

from autolora.errors import AutoLoraError
from autolora.extras import libraries_for
from autolora.params import Params
from autolora.storage.arrays import Float32Array
from autolora.web.captioner import Captioner
from autolora.web.file_encoder import FileEncoder
from autolora.web.gallery import Gallery, read_gallery
from autolora.web.generation import ImageGeneration
from autolora.web.jobs import Jobs
from autolora.web.query import Search
from autolora.web.results import Results, search
from autolora.web.served import OpenIndex, ServedIndex
from autolora.web.thumbnails import Thumbnails, erased_images
from autolora.web.uploads import Uploads

logger = logging.getLogger(__name__)


@dataclass(kw_only=True, slots=True, eq=False)
class Site:
    """One project that is served."""

    root: Path
    params: Params
    served: ServedIndex
    thumbnails: Thumbnails
    uploads: Uploads
    file_encoder: FileEncoder
    captioner: Captioner
    jobs: Jobs
    gallery: Gallery = field(default_factory=Gallery)
    gallery_index: OpenIndex | None = None
    """the index whose images the gallery holds"""
    gallery_problem: str = ""
    """why the gallery cannot be read; empty if it was"""

    def opened(self) -> OpenIndex:
        """Return the index that is searched. Answers 503 if there is none yet."""
        if self.served.current is None:
            raise HTTPException(503, self.served.problem)
        return self.served.current

    def follow(self) -> None:
        """Open the released index and read its adapters' images, if another one was released or one was taken down.

        Images that cannot be read are tried again by the next call; until then, the page has those of before.
        """
        self.served.follow()
        current = self.served.current
        try:
            if current is self.gallery_index and self.gallery.erased == erased_images(self.root):
                return
            with libraries_for("reading them"):
                self.gallery, self.gallery_index, self.gallery_problem = read_gallery(self.root), current, ""
        except AutoLoraError as error:
            if self.gallery_problem != str(error):
                logger.warning("the images cannot be read: %s", error)
            self.gallery_problem = str(error)

    def search(self, wanted: Search) -> Results:
        """Return the answer to a search in the served index.

        Raises MissingArtifact if the adapter or the file that others should resemble is not known.
        """
        query: Float32Array | None = self.uploads.find(wanted.file).vector if wanted.file else None
        return search(self.opened(), self.gallery, self.params, wanted, query)


def open_site(root: Path, params: Params) -> Site:
    """Return a project as a page; its index is opened by the first `follow`."""
    served = ServedIndex(root, params)
    generation = ImageGeneration(root, params)
    return Site(
        root=root,
        params=params,
        served=served,
        thumbnails=Thumbnails(root),
        uploads=Uploads(),
        file_encoder=FileEncoder(root, params.pool),
        captioner=Captioner(root, params),
        jobs=Jobs(generation.generate, release=generation.release),
    )
