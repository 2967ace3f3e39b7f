"""The storage that hubs redirect downloads to: another host name, and signed URLs with an expiry date."""

import hashlib
import hmac
import time
from collections.abc import Mapping
from urllib.parse import quote, urlencode

from playground.hubs.http_messages import Api, HttpError, Request, Response, route, send_blob
from playground.hubs.repos import Blob
from playground.hubs.state import Hub

SECRET = b"key of the playground's signatures"


def sign(hub: Hub, request: Request, api: str, repo: str, blob: Blob, name: str) -> str:
    """Return a signed URL of a file that is valid for `request.lifetime_s`."""
    path = f"/{api}/{repo}/{blob.sha256}/{name}"
    expires = str(int(time.time() + request.lifetime_s))
    query = urlencode({"Expires": expires, "Signature": _signature(path, expires)})
    return f"{hub.storage}{quote(path)}?{query}"


def send_file(hub: Hub, request: Request, api: str, repo: str, sha256: str, name: str) -> Response:
    """GET or HEAD /{hub}/{owner}/{name}/{sha256}/{file}: the file, if the signature is valid and not expired."""
    expires, signature = request.text("Expires", "0"), request.text("Signature")
    if not hmac.compare_digest(signature.encode(), _signature(request.path, expires).encode()):
        raise HttpError(403, "SignatureDoesNotMatch")
    if int(expires) < time.time():
        raise HttpError(403, "Request has expired")
    repository = hub.repos.get(repo)
    blobs = [blob for commit in repository.commits for blob in commit.blobs.values()] if repository else []
    blob = next((blob for blob in blobs if blob.sha256 == sha256), None)
    if blob is None:
        raise HttpError(404, "NoSuchKey")
    return send_blob(
        request,
        blob,
        {
            "ETag": f'"{hashlib.md5(sha256.encode()).hexdigest()}"',
            "Content-Type": "application/octet-stream",
            "Content-Disposition": f"attachment; filename=\"{name}\"; filename*=UTF-8''{quote(name)}",
        },
    )


def send_image(hub: Hub, request: Request, api: str, image: str) -> Response:
    """GET or HEAD /civitai/images/{uuid}/original=true/{name}.jpeg: an image, by its UUID, without a signature."""
    repo, path = hub.civitai_ids.image_uuids.get(image, (None, ""))
    if not repo or not hub.find(repo.id, api):
        raise HttpError(404, "NoSuchKey")
    blob = repo.head.blobs[path]
    etag = f'"{hashlib.md5(blob.sha256.encode()).hexdigest()}"'
    subtype = path.rpartition(".")[2].lower().replace("jpg", "jpeg")
    return send_blob(request, blob, {"ETag": etag, "Content-Type": f"image/{subtype}"})


def refuse(request: Request, error: HttpError) -> Response:
    """Return an error response in the XML format of object stores."""
    text = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{error.status}</Code>'
    content = f"{text}<Message>{error.message}</Message></Error>".encode()
    headers = {"Content-Type": "application/xml", **error.headers}
    return Response(status=error.status, headers=headers, pieces=(content,), length=len(content))


def find_repo_id(hub: Hub, request: Request, groups: Mapping[str, str]) -> str:
    """Return the id of the repository that an image belongs to; empty if there is none."""
    repo, _ = hub.civitai_ids.image_uuids.get(groups.get("image", ""), (None, ""))
    return repo.id if repo else ""


def _signature(path: str, expires: str) -> str:
    return hmac.new(SECRET, f"{path}?{expires}".encode(), hashlib.sha256).hexdigest()


API = Api(
    name="storage",
    prefix="",
    routes=(
        route(
            "GET",
            r"/(?P<api>\w+)/(?P<repo>[^/]+/[^/]+)/(?P<sha256>[0-9a-f]{64})/(?P<name>[^/]+)",
            "file",
            send_file,
        ),
        route(
            "GET",
            r"/(?P<api>civitai)/images/(?P<image>[0-9a-f-]{36})/(?:[\w=,]+/)*[\w-]+\.\w+",
            "file",
            send_image,
        ),
    ),
    refuse=refuse,
    find_repo_id=find_repo_id,
)
