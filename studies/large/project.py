"""A project of another world: a clone of this repository in which that world's base and pool are the playground's.

Every command runs there as it does here, but with that world: the hub serves its pool, params.yaml has the size of its
images, and the data that the committed pipeline made is gone.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from autolora.local.project import PARAMS_FILE, set_values
from playground.bases import Base

ROOT = Path(__file__).parents[2]
ENDPOINT = "http://127.0.0.1:8766"
"""of the project's hub; port 8765 is that of this repository's"""
OUTPUTS = ("data", "digests", "metrics", "dvc.lock")
KEPT = ("digests/code/*",)
"""files among OUTPUTS that no stage writes"""
IDENTITY = ("-c", "user.name=playground", "-c", "user.email=playground@localhost")


def write(folder: Path, base: Base) -> None:
    """Write the project of a base and of the pool beside it; the folder appears when it is complete."""
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    subprocess.run(["git", "clone", "--quiet", ROOT, partial], check=True)
    _git(partial, "rm", "-r", "--quiet", "--", *OUTPUTS, *(f":!{pattern}" for pattern in KEPT))
    _replace(partial / "playground" / "models" / "flux", base.home)
    for name in ("pool", "themes.json"):
        _replace(partial / "playground" / name, base.home.with_name(name))
    path = partial / PARAMS_FILE
    path.write_text(set_values(path.read_text(), values(base.size)))
    _git(partial, "add", "--all")
    _git(partial, *IDENTITY, "commit", "--quiet", "--message", f"playground: {base.size} pixels per side")
    partial.rename(folder)


def values(size: int) -> dict[str, object]:
    """Return the values of params.yaml that differ in a world whose images have so many pixels per side."""
    return {
        "hubs.civitai.endpoint": f"{ENDPOINT}/civitai",
        "hubs.huggingface.endpoint": ENDPOINT,
        "hubs.modelscope.endpoint": f"{ENDPOINT}/modelscope",
        "fusion.image_size": size,
        "generation.width": size,
        "generation.height": size,
    }


def _replace(target: Path, source: Path) -> None:
    """Replace a file or folder of the clone by a copy of another one."""
    if source.is_dir():
        shutil.rmtree(target)
        shutil.copytree(source, target)
    else:
        shutil.copy(source, target)


def _git(folder: Path, *arguments: str) -> None:
    subprocess.run(["git", *arguments], cwd=folder, check=True)
