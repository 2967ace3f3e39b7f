"""Faults in statuses, redirects and bodies: wrong, incomplete, slow, or of another content type."""

import itertools
import time
import zlib
from collections.abc import Iterable, Iterator
from email.message import Message
from email.utils import formatdate
from urllib.parse import quote, urlencode

from autolora.storage.files import MB
from playground.hubs.fault_injection import FaultContext
from playground.hubs.http_messages import HttpError, Response

PAGE = b"<!DOCTYPE html><html><head><title>Just a moment...</title></head><body>Checking</body></html>"
DEEP = b"[" * 200_000
NUMBER = b'{"items": [' + b"9" * 100_000 + b"]}"


def refuse(context: FaultContext, status: int, **headers: str) -> Response:
    """Return an error response in the hub's own format."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return context.api.refuse(context.request, HttpError(status, "Fault injected by the playground", named))


def ordered_status(context: FaultContext) -> Response:
    """Return an error response with the status and the Retry-After of the order."""
    headers = {"Retry_After": context.injection.retry_after} if context.injection.retry_after else {}
    return refuse(context, context.injection.status or 500, **headers)


def retry_after_seconds(context: FaultContext, status: int) -> Response:
    """Return an error response with Retry-After in seconds."""
    seconds = f"{context.injection.seconds or 2:g}"
    return refuse(context, status, Retry_After=seconds, Cache_Control="no-store")


def retry_after_date(context: FaultContext) -> Response:
    """Return a 429 with Retry-After as a date."""
    date = formatdate(time.time() + (context.injection.seconds or 2), usegmt=True)
    return refuse(context, 429, Retry_After=date)


def rate_limit_headers(context: FaultContext) -> Response:
    """Return a 429 with the headers RateLimit and RateLimit-Policy."""
    remaining = f'"api";r=0;t={context.injection.seconds or 2:g}'
    policy = '"fixed window";"api";q=500;w=300'
    return refuse(context, 429, RateLimit=remaining, RateLimit_Policy=policy)


def gate(context: FaultContext) -> Response:
    """Return the hub's refusal of a gated repository's file."""
    headers = {"X_Error_Code": "GatedRepo", "X_Error_Message": "Access to this model is restricted"}
    has_token = context.request.headers.get("Authorization")
    status = 403 if has_token or context.api.name == "modelscope" else 401
    return refuse(context, status, **(headers if context.api.name == "huggingface" else {}))


def redirect(context: FaultContext, url: str) -> Response:
    """Return a redirect to `url`."""
    return Response(status=302, headers={"Location": url})


def redirect_loop(context: FaultContext) -> Response:
    """Return a redirect to the same URL; only the parameter `turn` increases each time."""
    turn = int(context.request.text("turn", "0")) + 1
    query = urlencode({**context.request.query, "turn": [str(turn)]}, doseq=True)
    return redirect(context, f"{context.request.base}{quote(context.request.path)}?{query}")


def redirect_expired(context: FaultContext) -> Response:
    """Return a redirect to the storage with an expired signature; from the storage itself, a 403."""
    if context.api.name == "storage":
        return refuse(context, 403)
    return context.respond(redirects=True, lifetime_s=-60.0)


def cut_body(context: FaultContext) -> Response:
    """Close the connection in the middle of the body."""
    response = context.encoded()
    response.pieces, response.close_after = first(response.length // 2, response.pieces), True
    return response


def reset_midway(context: FaultContext) -> Response:
    """Reset the connection in the middle of the body."""
    response = cut_body(context)
    response.reset_after = True
    return response


def shorten(context: FaultContext) -> Response:
    """Send half of the body, with the Content-Length of that half."""
    response = context.encoded()
    response.length //= 2
    response.pieces = first(response.length, response.pieces)
    return response


def overstate_length(context: FaultContext) -> Response:
    """Send the body with a Content-Length that is too large by 1,000, and close the connection."""
    response = context.encoded()
    response.length += 1000
    response.close_after = True
    return response


def empty_body(context: FaultContext) -> Response:
    """Send the regular headers with Content-Length 0 and no body."""
    response = context.encoded()
    response.headers.pop("Content-Range", None)
    response.status, response.length, response.pieces = 200, 0, ()
    return response


def invert_bytes(context: FaultContext) -> Response:
    """Send the body with every bit inverted."""
    response = context.encoded()
    response.pieces = (bytes(byte ^ 0xFF for byte in piece) for piece in response.pieces)
    return response


def reset(context: FaultContext) -> Response:
    """Reset the connection before any response."""
    return Response(status=0, reset_after=True)


def hostile_file_name(context: FaultContext) -> Response:
    """Send a Content-Disposition whose file name begins with `../`."""
    response = context.encoded()
    response.headers["Content-Disposition"] = 'attachment; filename="../../../hostile.safetensors"'
    return response


def slow_body(context: FaultContext) -> Response:
    """Send the body one byte at a time, with a delay before each."""
    response = context.encoded()
    response.delay_s = context.injection.seconds or 0.2
    response.pieces = (bytes([byte]) for piece in response.pieces for byte in piece)
    return response


def hang(context: FaultContext) -> Response:
    """Send nothing for some seconds, then close the connection."""
    return Response(status=0, delay_s=context.injection.seconds or 30.0)


def shift_content_range(context: FaultContext) -> Response:
    """Send a Content-Range that begins one byte after the requested one; cut a body requested without Range."""
    response = cut_body(context) if has_no_range(context) else context.encoded()
    if begin := response.headers.get("Content-Range", "").removeprefix("bytes ").partition("-")[0]:
        rest = response.headers["Content-Range"].partition("-")[2]
        response.headers["Content-Range"] = f"bytes {int(begin) + 1}-{rest}"
    return response


def first_bytes_for_range(context: FaultContext) -> Response:
    """Send the right Content-Range with the first bytes of the file; cut a body requested without Range."""
    if has_no_range(context):
        return cut_body(context)
    response = context.encoded()
    response.pieces = first(response.length, context.respond(headers=Message()).pieces)
    return response


def ignore_range(context: FaultContext) -> Response:
    """Send the whole file instead of the requested range; cut a body requested without Range."""
    return cut_body(context) if has_no_range(context) else context.respond(headers=Message()).encode()


def has_no_range(context: FaultContext) -> bool:
    """Return whether the request has no Range header."""
    return not context.request.headers.get("Range")


def compress(context: FaultContext, padding_mb: int) -> Response:
    """Send the body in gzip, whatever Accept-Encoding says, followed by `padding_mb` MB of spaces or zeros."""
    response = context.encoded()
    is_text = response.headers.get("Content-Type", "").startswith("application/json")
    padding = itertools.repeat(
        (b" " if is_text else b"\0") * MB, context.injection.mb or padding_mb if padding_mb else 0
    )
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    packed = b"".join(packer.compress(piece) for piece in itertools.chain(response.pieces, padding))
    packed += packer.flush()
    response.headers |= {"Content-Encoding": "gzip"}
    response.pieces, response.length = (packed,), len(packed)
    return response


def pad(context: FaultContext) -> Response:
    """Send many MB of spaces before the JSON."""
    response, size = context.encoded(), context.injection.mb or 64
    response.pieces = itertools.chain(itertools.repeat(b" " * MB, size), response.pieces)
    response.length += size * MB
    return response


def send(context: FaultContext, content: bytes, content_type: str = "application/json") -> Response:
    """Send the given body with a 200."""
    return Response(headers={"Content-Type": content_type}, pieces=(content,), length=len(content))


def truncate(context: FaultContext) -> Response:
    """Send the first half of the JSON, with the Content-Length of that half."""
    response = context.encoded()
    content = b"".join(response.pieces)
    return send(context, content[: len(content) // 2])


def first(size: int, pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the first `size` bytes of a body."""
    for piece in pieces:
        yield piece[:size]
        size -= len(piece[:size])
        if not size:
            return
