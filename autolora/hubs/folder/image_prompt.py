"""The prompt in the metadata of an image, as AUTOMATIC1111 and programs that follow it write it.

Source: modules/images.py of AUTOMATIC1111/stable-diffusion-webui: a PNG has a text chunk `parameters`, a JPEG or WEBP
the same text as EXIF UserComment. The prompt ends where the negative prompt or the settings begin.
"""

import re
import warnings
from typing import IO

from PIL import Image
from PIL.ExifTags import IFD, Base

from autolora.hubs.validation import clean_text
from autolora.storage.images import FORMATS

PARAMETERS = "parameters"
UNICODE, ASCII = b"UNICODE\0", b"ASCII\0\0\0"
"""first 8 bytes of an EXIF UserComment, which name the encoding of the rest"""
END_OF_PROMPT = re.compile(r"^(?:Negative prompt|Steps): ", re.MULTILINE)


def read_prompt(stream: IO[bytes]) -> str | None:
    """Return the prompt in an image's metadata, cleaned; None if there is none, or the image is not readable."""
    try:
        with warnings.catch_warnings(), Image.open(stream, formats=FORMATS) as image:
            warnings.simplefilter("ignore")
            text = image.info.get(PARAMETERS) if image.format == "PNG" else _user_comment(image)
    except Exception:  # Pillow raises many types on damaged files; the pool refuses them with a reason
        return None
    if not isinstance(text, str):
        return None
    return clean_text(END_OF_PROMPT.split(text, maxsplit=1)[0])


def _user_comment(image: Image.Image) -> str | None:
    comment = image.getexif().get_ifd(IFD.Exif).get(Base.UserComment)
    if not isinstance(comment, bytes):
        return comment if isinstance(comment, str) else None
    charset, text = comment[:8], comment[8:]
    if charset == UNICODE:  # the order of the bytes is not stated; prompts begin with an ASCII character
        return text.decode("utf-16-le" if text[1:2] == b"\0" else "utf-16-be", "replace")
    return text.decode("ascii", "replace") if charset == ASCII else None
