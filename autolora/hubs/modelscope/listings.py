"""What ModelScope says of a model, in its lists and on the model's own page, as far as it can be used."""

import datetime
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

from autolora.hubs import Model
from autolora.hubs.huggingface.card import BASE_TAG, NSFW_TAG
from autolora.hubs.labels import is_nsfw, normalize_base, permissions_of
from autolora.hubs.validation import (
    clean,
    clean_all,
    count,
    glimpse,
    is_repo_id,
    is_set,
    listed,
    moment,
    sha256,
    stamp,
    tagged,
)
from autolora.params import CrawlParams
from autolora.records import ListedRendering, Listing

NSFW_TAGS = frozenset({NSFW_TAG, "nsfw"})
BRANCH = "master"
REVISION = re.compile(r"[0-9a-f]{40}")
PRIVATE, INTERNAL, GATED = 1, 3, 1
"""of Visibility, of Visibility, of ProtectedMode"""

Entry = Mapping[str, Any]
"""one file of a model"""


def read_model(item: Any, hub: str, endpoint: str, today: datetime.date) -> Model:
    """Read one entry of a list; its draft has no file yet, since lists name none.

    Raises ValueError when it has no usable id or date, or may be closed or not.
    """
    if not isinstance(item, Mapping) or not is_repo_id(item.get("id")):
        raise ValueError(f"an entry has no usable id: {glimpse(item)}")
    updated = moment(item.get("last_modified"))
    if updated is None:
        raise ValueError(f"{item['id']} comes without a date of its last change")
    draft = _draft(item, hub, endpoint, stamp(updated), today)
    closed = is_closed(item)
    return Model(
        id=draft.id,
        version=draft.version,
        updated=updated,
        drafts=() if closed else (draft,),
        withdrawn=closed,
    )


def is_closed(item: Mapping[str, Any]) -> bool:
    """Tell whether a model's files need a permission, in the words of lists or of its own page.

    Raises ValueError where that is not clear.
    """
    closed = item.get("Visibility") in (PRIVATE, INTERNAL) or item.get("ProtectedMode") == GATED
    return is_set(item, "private", "gated") or closed


def describe(draft: Listing, detail: Mapping[str, Any]) -> Listing:
    """Add to a draft what only the model's own page tells."""
    base_model = next(iter(clean_all(detail.get("BaseModel"))), draft.base_model)
    license = draft.license or clean(detail.get("License"))
    return replace(
        draft,
        base_model=base_model,
        base=normalize_base(base_model),
        license=license,
        permissions=permissions_of(license),
    )


def place(draft: Listing, endpoint: str, path: str, entry: Entry) -> Listing:
    """Return the listing of one file of the draft's model."""
    size, digest = count(entry.get("Size")), sha256(entry.get("Sha256"))
    return replace(draft, file=path, url=_url(endpoint, draft.id, path, entry), size=size, sha256=digest)


def show(draft: Listing, endpoint: str, path: str, entry: Entry) -> ListedRendering:
    """Return a picture of the draft's model, rated as the model."""
    url, digest = _url(endpoint, draft.id, path, entry), sha256(entry.get("Sha256"))
    return ListedRendering(url=url, sha256=digest, prompt=None, nsfw_level=draft.nsfw_level)


def renew(known: Listing, draft: Listing, rules: CrawlParams) -> Listing:
    """Return a listing of the same version with what the list tells of its model today."""
    return replace(
        draft,
        file=known.file,
        url=known.url,
        size=known.size,
        sha256=known.sha256,
        base_model=known.base_model,
        base=known.base,
        license=draft.license or known.license,
        permissions=draft.permissions if draft.license else known.permissions,
        renderings=known.renderings[: rules.max_renderings],
    )


def _draft(item: Mapping[str, Any], hub: str, endpoint: str, version: str, today: datetime.date) -> Listing:
    license, tags = clean(item.get("license")), listed(item.get("tags"))
    base_model = tagged(tags, BASE_TAG)
    level = "mature" if NSFW_TAGS & {tag.lower() for tag in tags if isinstance(tag, str)} else None
    return Listing(
        hub=hub,
        id=item["id"],
        version=version,
        file="",
        url=f"{endpoint}/models/{item['id']}",
        size=None,
        sha256=None,
        license=license,
        permissions=permissions_of(license),
        base_model=base_model,
        base=normalize_base(base_model),
        nsfw=is_nsfw(level),
        nsfw_level=level,
        trigger_words=(),
        renderings=(),
        downloads=count(item.get("downloads")),
        updated=version,
        first_seen=today,
    )


def _url(endpoint: str, id: str, path: str, entry: Entry) -> str:
    """Return where a file lies, at the revision that last changed it where the hub tells one."""
    told = entry.get("Revision")
    revision = told if isinstance(told, str) and REVISION.fullmatch(told) else BRANCH
    query = urlencode({"Revision": revision, "FilePath": path})
    return f"{endpoint}/api/v1/models/{id}/repo?{query}"
