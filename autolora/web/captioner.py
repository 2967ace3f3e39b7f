"""Captions of images that visitors drop onto the page, for searches by what these show."""

import threading
from pathlib import Path

from autolora.errors import RefusedFile
from autolora.params import Params
from autolora.search.by_image import describe_image, open_image
from autolora.web.query import MAX_PROMPT_CHARS


class Captioner:
    """The model that captions the pool's images, which describes one image at a time."""

    def __init__(self, root: Path, params: Params) -> None:
        self._root, self._params = root, params
        self._describing = threading.Lock()

    def describe(self, path: Path) -> str:
        """Return the caption of an uploaded image, as a search takes it.

        Raises RefusedFile if it is not an image, or as `describe_image`.
        """
        try:
            image = open_image(path, self._params.pool)
        except RefusedFile as error:
            raise RefusedFile(error.code, str(error).replace(str(path), "the image")) from error
        with self._describing:
            return describe_image(self._root, self._params, image)[:MAX_PROMPT_CHARS]
