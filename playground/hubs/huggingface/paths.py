"""Parts of the Hugging Face Hub's paths, and the errors of paths that lead to nothing."""

from collections.abc import Mapping

from playground.hubs.http_messages import HttpError

REPO = r"(?P<repo>[^/]+/[^/]+)"
REVISION = r"(?P<revision>[^/]+)"
MESSAGES = {
    "RepoNotFound": "Repository not found",
    "RevisionNotFound": "Invalid rev id",
    "EntryNotFound": "Entry not found",
}


def missing(code: str, headers: Mapping[str, str] | None = None) -> HttpError:
    """Return a 404 whose X-Error-Code says what is missing."""
    message = MESSAGES[code]
    return HttpError(404, message, {"X-Error-Code": code, "X-Error-Message": message, **(headers or {})})
