"""A search for names in all stores of a project by grep, git and Lance's reader of tables: what a proof must list."""

import os
import re
import subprocess
import tempfile
from collections.abc import Collection, Iterator
from pathlib import Path

from lance.file import LanceFileReader


def names_of(rows: Collection[dict[str, str]]) -> tuple[set[str], set[str]]:
    """Return what identifies the takedowns of a list: texts, and words that must not be a part of others."""
    texts = {row["sha256"] for row in rows if row["sha256"]} | {md5 for row in rows for md5 in row["md5"]}
    own = {(row["hub"], row["id"]) for row in rows if row["kind"] == "weights" and row["hub"]}
    words = {f"{hub}:{id}" for hub, id in own} | {id for _, id in own if "/" in id}
    texts |= {f'"hub":"{hub}","id":"{id}"' for hub, id in own}
    return texts, words | {row["file"] for row in rows if row["kind"] == "rendering" and row["file"]}


def pattern(texts: Collection[str], words: Collection[str]) -> str:
    """Return a pattern for `grep -P`."""
    either = "|".join(map(re.escape, words))
    return "|".join([*map(re.escape, texts), rf"(?<![\w-])(?:{either})(?![\w-])"])


def in_folder(folder: Path, wanted: str, left_out: Collection[Path] = ()) -> set[str]:
    """Return the files of a folder whose bytes, texts of a table, or path match, relative to it."""
    files = [path for path in _files(folder) if not any(other in path.parents for other in left_out)]
    with tempfile.NamedTemporaryFile("w") as names:
        names.write("\0".join(map(str, files)))
        names.flush()
        command = f'xargs -0 -a {names.name} grep -laP -e "$WANTED"'
        environment = os.environ | {"LC_ALL": "C", "WANTED": wanted}
        done = subprocess.run(["bash", "-c", command], env=environment, text=True, capture_output=True)
    assert not done.stderr, done.stderr
    found = {Path(line) for line in done.stdout.splitlines()}
    found |= {path for path in files if re.search(wanted, path.relative_to(folder).as_posix())}
    found |= {path for path in files if _is_table(path) and re.search(wanted, _rows(path))}
    return {path.relative_to(folder).as_posix() for path in found}


def in_store(folder: Path, wanted: str) -> set[str]:
    """Return the md5 of the objects of a DVC cache or remote that match, or whose name does."""
    objects = folder / "files" / "md5"
    found = {name.replace("/", "") for name in in_folder(objects, wanted)}
    listed = {path.parent.name + path.name for path in _files(objects)}
    return found | {md5 for md5 in listed if re.search(wanted, md5)}


def in_git(root: Path, wanted: str) -> set[str]:
    """Return the hashes of the files in all commits, and of the commits, that match."""
    commits = _git(root, "rev-list", "--all", "--reflog").split()
    lines = _git(root, "grep", "-laP", "-e", wanted, *commits).splitlines()
    files = {_git(root, "rev-parse", line).strip() for line in lines}
    return files | {oid for oid in commits if re.search(wanted, _git(root, "cat-file", "-p", oid))}


def _git(root: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=root, text=True, capture_output=True).stdout


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def _is_table(path: Path) -> bool:
    return path.stat().st_size > 4 and path.read_bytes()[-4:] == b"LANC"


def _rows(path: Path) -> str:
    """Return all rows of a data file of a table, but vectors, as text."""
    with tempfile.NamedTemporaryFile(suffix=".lance") as copy:
        copy.write(path.read_bytes())
        copy.flush()
        try:
            rows = LanceFileReader(copy.name).read_all().to_table().to_pylist()
        except OSError as error:
            assert "v1 metadata" in str(error), "not a manifest"
            return ""
    return "\n".join(
        "\n".join(value) if isinstance(value, list) and value and isinstance(value[0], str) else str(value)
        for row in rows
        for value in row.values()
        if not (isinstance(value, list) and value and isinstance(value[0], float))
    )
