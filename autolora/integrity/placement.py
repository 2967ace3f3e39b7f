"""Putting verified files in place of damaged ones: atomically, linked to DVC's cache as its settings ask."""

import os
import shutil
import uuid
from pathlib import Path

from autolora.integrity.dvc_records import dvc_setting
from autolora.integrity.expected import ExpectedFile
from autolora.storage.files import sync_and_rename

WRITABLE, READ_ONLY = 0o644, 0o444
"""modes of a copied file, and of a file that shares its content with DVC's cache"""

LEFTOVER = ".repair-"
"""beginning of the names of replacements, which a killed repair may leave in any folder"""


def work_folder(root: Path) -> Path:
    """Return the folder of incomplete replacements and of objects that are being replaced."""
    return root / "cache" / "repair"


def fill_working_tree(root: Path, file: ExpectedFile) -> None:
    """Replace a file of the working tree by its verified object in DVC's cache."""
    assert file.path is not None and file.object is not None
    _place(root, file.object, file.path)


def fill_cache(root: Path, file: ExpectedFile) -> None:
    """Replace an object in DVC's cache by the verified file of the working tree."""
    assert file.path is not None and file.object is not None
    _place(root, file.path, file.object)
    file.object.chmod(READ_ONLY)


def install(new: Path, path: Path) -> None:
    """Move a verified new file to its path, which may be on another file system."""
    sibling = _sibling(path)
    try:
        shutil.move(new, sibling)
        sibling.chmod(WRITABLE)
        with sibling.open("rb") as stream:
            sync_and_rename(stream, sibling, path)
    finally:
        sibling.unlink(missing_ok=True)


def move(source: Path, target: Path) -> None:
    """Move a file or folder, to another file system if necessary."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(source, target)


def _place(root: Path, source: Path, target: Path) -> None:
    """Replace `target` by a hard link to `source`; by a copy if DVC does not link here or the file system cannot."""
    sibling = _sibling(target)
    try:
        if "hardlink" in dvc_setting(root, "cache.type") and _link(source, sibling):
            os.replace(sibling, target)
        else:
            shutil.copyfile(source, sibling)
            install(sibling, target)
    finally:
        sibling.unlink(missing_ok=True)


def _sibling(path: Path) -> Path:
    """Return an unused path beside a file, for its replacement."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.with_name(f"{LEFTOVER}{uuid.uuid4().hex}")


def _link(source: Path, target: Path) -> bool:
    """Link a file and return whether the file system allows it."""
    try:
        os.link(source.resolve(), target)
    except OSError:
        return False
    return True
