"""Restoring the copies of the index that searches read."""

import shutil
import tempfile
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from autolora.errors import MissingArtifact
from autolora.index import served
from autolora.index.content import IncompleteIndexError, make_copy
from autolora.index.copies import HASHES
from autolora.index.store import content_digest, folder
from autolora.integrity.verification import COPIES, EXTRA, Finding


class Copies:
    """The working index, or that of a revision, which DVC fetches; for a missing list of hashes the copy itself."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def offer(self, finding: Finding) -> str | None:
        """Offer an index with the content digest that names the copy."""
        if finding.kind != COPIES or finding.problem == EXTRA:
            return None
        digest = self._digest_of(finding)
        if digest == self._working:
            return "working index"
        if digest in self._revisions:
            return f"index of revision {self._revisions[digest][:10]}, through DVC"
        return "the copy's own rows" if finding.path.endswith(HASHES) and not finding.file else None

    def restore(self, findings: Sequence[Finding]) -> dict[str, str]:
        """Write each damaged copy again and put it in the place of the damaged one."""
        failures: dict[str, str] = {}
        for digest in sorted({self._digest_of(finding) for finding in findings}):
            try:
                self._replace(digest)
            except (MissingArtifact, IncompleteIndexError) as error:
                of_copy = [finding.path for finding in findings if self._digest_of(finding) == digest]
                failures |= dict.fromkeys(of_copy, str(error))
        return failures

    def _replace(self, digest: str) -> None:
        folder = served.copies_folder(self._root)
        path, new, old = folder / digest, folder / f".{digest}.new", folder / f".{digest}.old"
        shutil.rmtree(new, ignore_errors=True)
        with tempfile.TemporaryDirectory() as temporary:
            make_copy(new, digest, self._source(digest, Path(temporary)))
        if path.exists():
            path.rename(old)
        new.rename(path)
        shutil.rmtree(old, ignore_errors=True)

    def _source(self, digest: str, temporary: Path) -> Path:
        """Return a folder that holds the index."""
        if digest == self._working:
            return folder(self._root)
        if digest in self._revisions:
            served.fetch_revision(self._root, self._revisions[digest], temporary / "index")
            return temporary / "index"
        return served.copy_path(self._root, digest)

    def _digest_of(self, finding: Finding) -> str:
        """Return the content digest of the copy that a finding is about."""
        path = (self._root / finding.path).relative_to(served.copies_folder(self._root))
        return path.parts[0]

    @property
    def _working(self) -> str | None:
        """The content digest of the working index."""
        try:
            return content_digest(self._root)
        except (MissingArtifact, ValueError):
            return None

    @cached_property
    def _revisions(self) -> dict[str, str]:
        """Content digest -> newest commit whose index has it."""
        newest_first = served.readable_revisions(self._root)
        return {revision.index: revision.commit.sha for revision in reversed(newest_first)}
