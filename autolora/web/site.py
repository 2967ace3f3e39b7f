"""What all routes of one running page share."""

from dataclasses import dataclass, field
from pathlib import Path

from fastapi import HTTPException

from autolora.params import Params
from autolora.web.gallery import Gallery, read_gallery
from autolora.web.served import Release, ServedIndex
from autolora.web.thumbnails import Thumbnails


@dataclass(slots=True, eq=False)
class Site:
    """One project that is served."""

    root: Path
    params: Params
    served: ServedIndex
    thumbnails: Thumbnails
    gallery: Gallery = field(default_factory=Gallery)

    def release(self) -> Release:
        """Return the release that is searched. Answers 503 if there is none yet."""
        if self.served.current is None:
            raise HTTPException(503, self.served.problem)
        return self.served.current

    def follow(self) -> None:
        """Open the released index and read its adapters' images, if another one was released."""
        before = self.served.current
        self.served.follow()
        if self.served.current is not before:
            self.gallery = read_gallery(self.root)


def open_site(root: Path, params: Params) -> Site:
    """Return a project as a page; its index is opened by the first `follow`."""
    sides = (params.serve.thumbnail_px, params.serve.max_image_px)
    return Site(root=root, params=params, served=ServedIndex(root), thumbnails=Thumbnails(root, sides))
