"""Restoring weights and images from the hubs, by the URLs of the catalog."""

import os
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path

from autolora.catalog.store import read_all
from autolora.errors import AutoLoraError, HubError, MissingArtifact
from autolora.hubs import Hub
from autolora.hubs.registry import open_hub, tokens_from_environment
from autolora.integrity.content import ContentReader
from autolora.integrity.expected import ExpectedFile
from autolora.integrity.placement import install, work_folder
from autolora.integrity.sources import has_md5
from autolora.integrity.verification import Finding
from autolora.params import Params
from autolora.pool.images import reencode_image
from autolora.pool.ingest import MAX_CONSECUTIVE_FAILURES
from autolora.pool.store import table_path
from autolora.records import Listing
from autolora.storage.files import MB, read_rows
from autolora.storage.hashes import hash_file

Link = tuple[str, str, int]
"""hub, URL, and maximum size in bytes"""


class Hubs:
    """The hubs: for weights and images that the catalog lists and no hub has withdrawn."""

    def __init__(self, root: Path, params: Params, reader: ContentReader) -> None:
        self._root, self._params, self._reader = root, params, reader
        self._hubs: dict[str, Hub] = {}
        self._consecutive_failures: Counter[str] = Counter()
        self.accepted: set[Path] = set()
        """images that the download has the expected sha256 of, and that were re-encoded to other bytes"""

    def offer(self, finding: Finding) -> str | None:
        """Offer the hubs that list a file of the working tree."""
        file = finding.file
        if file is None or file.path is None or self._root / finding.path != file.path or file.is_taken_down:
            return None
        hubs = dict.fromkeys(hub for hub, _, _ in self._links(file))
        return f"hub {', '.join(hubs)}" if hubs else None

    def restore(self, findings: Sequence[Finding]) -> dict[str, str]:
        """Download the files, several at a time."""
        files = [finding.file for finding in findings if finding.file]
        for hub in {hub for file in files for hub, _, _ in self._links(file)}:
            self._hubs.setdefault(hub, open_hub(hub, self._params.hubs, tokens_from_environment(os.environ)))
        with ThreadPoolExecutor(max_workers=self._params.hubs.downloads) as executor:
            errors = list(executor.map(self._download, files))
        return {finding.path: error for finding, error in zip(findings, errors, strict=True) if error}

    def _links(self, file: ExpectedFile) -> Sequence[Link]:
        links: Mapping[str, Mapping[str, list[Link]]] = self._catalog
        return links.get(file.kind, {}).get(file.sha256 or "", [])

    def _download(self, file: ExpectedFile) -> str:
        """Download a file from the first hub that delivers it; return the errors, empty if it was restored."""
        errors = []
        for hub, url, limit in self._links(file):
            if self._consecutive_failures[hub] >= MAX_CONSECUTIVE_FAILURES:
                errors.append(
                    f"hub {hub} failed {MAX_CONSECUTIVE_FAILURES} times in a row and was not asked again"
                )
                continue
            try:
                self._download_from(self._hubs[hub], url, limit, file)
            except AutoLoraError as error:
                self._consecutive_failures[hub] += 1
                errors.append(str(error))
            else:
                self._consecutive_failures[hub] = 0
                return ""
        return " | ".join(dict.fromkeys(errors))

    def _download_from(self, hub: Hub, url: str, limit: int, file: ExpectedFile) -> None:
        """Download, check and store one file. Raises HubError if the sha256 is another one."""
        assert file.path is not None
        new = work_folder(self._root) / uuid.uuid4().hex
        new.parent.mkdir(parents=True, exist_ok=True)
        try:
            sha256 = hub.download(url, new, limit)
            if sha256 != file.sha256:
                raise HubError(f"hub {hub.name}: {url} has sha256 {sha256}, but {file.sha256} is needed")
            if file.kind == "renderings":
                self._reencode(new, file)
            elif hash_file(new) != file.sha256:
                raise HubError(f"hub {hub.name}: {url} was damaged while it was written")
            install(new, file.path)
        finally:
            new.unlink(missing_ok=True)

    def _reencode(self, new: Path, file: ExpectedFile) -> None:
        """Replace a downloaded image by its form in the pool."""
        content, _, _ = reencode_image(new, self._params.pool)
        new.write_bytes(content)
        if file.md5 is not None and not has_md5(self._reader, new, file.md5):
            assert file.path is not None
            self.accepted.add(file.path)

    @cached_property
    def _catalog(self) -> Mapping[str, Mapping[str, list[Link]]]:
        """Kind -> sha256 -> links, in the order of the catalog."""
        weights: dict[str, list[Link]] = {}
        images: dict[str, list[Link]] = {}
        adapters, renderings = (
            _hashes_of_keys(self._root, "adapters"),
            _hashes_of_keys(self._root, "renderings"),
        )
        max_file, max_image = (
            int(self._params.crawl.max_file_mb * MB),
            int(self._params.pool.max_image_mb * MB),
        )
        for listing in _listings(self._root):
            link = (listing.hub, listing.url, max_file if listing.size is None else listing.size)
            _add(weights, listing.sha256 or adapters.get(listing.key), link)
            for rendering in listing.renderings:
                sha256 = rendering.sha256 or renderings.get(rendering.key)
                _add(images, sha256, (listing.hub, rendering.url, max_image))
        return {"weights": weights, "renderings": images}


def _add(links: dict[str, list[Link]], sha256: str | None, link: Link) -> None:
    if sha256 and link not in links.setdefault(sha256, []):
        links[sha256].append(link)


def _listings(root: Path) -> list[Listing]:
    """Return the listings that no hub has withdrawn; none if the catalog is missing or damaged."""
    try:
        return [listing for listing in read_all(root) if listing.status != "withdrawn"]
    except MissingArtifact:
        return []


def _hashes_of_keys(root: Path, table: str) -> dict[str, str]:
    """Return key -> sha256 of the rows of a table of the pool, inactive ones included; none if it is damaged."""
    try:
        return {row["key"]: row["sha256"] for row in read_rows(table_path(root, table))}
    except (MissingArtifact, UnicodeDecodeError, KeyError, TypeError):
        return {}
