"""Where files lie that a hub redirects to: another host name, and URLs that hold for a while only."""

import hashlib
import hmac
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

from playground.hubs.exchange import Answer, Api, Refused, Request, route, send_blob
from playground.hubs.repos import Blob

if TYPE_CHECKING:
    from playground.hub import Hub

SECRET = b"known to nobody but this playground"


def sign(hub: "Hub", request: Request, api: str, repo: str, blob: Blob, name: str) -> str:
    """Return a URL under which a file can be had for `request.lifetime_s`."""
    path = f"/{api}/{repo}/{blob.sha256}/{name}"
    expires = str(int(time.time() + request.lifetime_s))
    query = urlencode({"Expires": expires, "Signature": _signature(path, expires)})
    return f"{hub.storage}{quote(path)}?{query}"


def send_file(hub: "Hub", request: Request, api: str, repo: str, sha256: str, name: str) -> Answer:
    """GET or HEAD /{hub}/{owner}/{name}/{sha256}/{file}: the bytes, while the signature holds."""
    expires, signature = request.text("Expires", "0"), request.text("Signature")
    if not hmac.compare_digest(signature.encode(), _signature(request.path, expires).encode()):
        raise Refused(403, "SignatureDoesNotMatch")
    if int(expires) < time.time():
        raise Refused(403, "Request has expired")
    found = hub.repos.get(repo)
    blobs = [blob for commit in found.commits for blob in commit.blobs.values()] if found else []
    blob = next((blob for blob in blobs if blob.sha256 == sha256), None)
    if blob is None:
        raise Refused(404, "NoSuchKey")
    return send_blob(
        request,
        blob,
        {
            "ETag": f'"{hashlib.md5(sha256.encode()).hexdigest()}"',
            "Content-Type": "application/octet-stream",
            "Content-Disposition": f"attachment; filename=\"{name}\"; filename*=UTF-8''{quote(name)}",
        },
    )


def send_image(hub: "Hub", request: Request, api: str, image: str) -> Answer:
    """GET or HEAD /civitai/images/[original=true/]{id}.{format}: a picture, for everybody."""
    if not (found := hub.numbers.images.get(int(image))) or not hub.find(found[0].id, api):
        raise Refused(404, "NoSuchKey")
    repo, path = found
    blob = repo.head.blobs[path]
    etag = f'"{hashlib.md5(blob.sha256.encode()).hexdigest()}"'
    kind = path.rpartition(".")[2].lower().replace("jpg", "jpeg")
    return send_blob(request, blob, {"ETag": etag, "Content-Type": f"image/{kind}"})


def refuse(request: Request, error: Refused) -> Answer:
    """Answer with an error in the XML that object stores speak."""
    text = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{error.status}</Code>'
    content = f"{text}<Message>{error.message}</Message></Error>".encode()
    headers = {"Content-Type": "application/xml", **error.headers}
    return Answer(status=error.status, headers=headers, pieces=(content,), length=len(content))


def name_image(hub: "Hub", request: Request, groups: Mapping[str, str]) -> str:
    """Return the repository that an image is of."""
    found = hub.numbers.images.get(int(groups.get("image") or 0))
    return found[0].id if found else ""


def _signature(path: str, expires: str) -> str:
    return hmac.new(SECRET, f"{path}?{expires}".encode(), hashlib.sha256).hexdigest()


API = Api(
    name="storage",
    prefix="",
    routes=(
        route(
            "GET HEAD",
            r"/(?P<api>\w+)/(?P<repo>[^/]+/[^/]+)/(?P<sha256>[0-9a-f]{64})/(?P<name>[^/]+)",
            "file",
            send_file,
        ),
        route(
            "GET HEAD", r"/(?P<api>civitai)/images/(?:[\w=,]+/)*(?P<image>\d{1,12})\.\w+", "file", send_image
        ),
    ),
    refuse=refuse,
    label=name_image,
)
