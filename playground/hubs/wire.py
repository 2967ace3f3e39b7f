"""Faults of the wire: statuses, redirects, and bodies that are cut, changed, slow or of another kind."""

import itertools
import time
import zlib
from collections.abc import Iterable, Iterator
from email.message import Message
from email.utils import formatdate
from urllib.parse import quote, urlencode

from playground.hubs.exchange import Answer, Refused
from playground.hubs.orders import Call

MB = 1_000_000
PAGE = b"<!DOCTYPE html><html><head><title>Just a moment...</title></head><body>Checking</body></html>"
DEEP = b"[" * 200_000
NUMBER = b'{"items": [' + b"9" * 100_000 + b"]}"


def refuse(call: Call, status: int, **headers: str) -> Answer:
    """Answer with an error in the hub's own words."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return call.api.refuse(call.request, Refused(status, "The playground was told to fail", named))


def ordered_status(call: Call) -> Answer:
    """Answer with the status and the Retry-After of the order."""
    headers = {"Retry_After": call.order.retry_after} if call.order.retry_after else {}
    return refuse(call, call.order.status or 500, **headers)


def ask_to_wait(call: Call, status: int) -> Answer:
    """Answer with Retry-After in seconds."""
    return refuse(call, status, Retry_After=f"{call.order.seconds or 2:g}", Cache_Control="no-store")


def ask_to_wait_until(call: Call) -> Answer:
    """Answer 429 with Retry-After as a date."""
    return refuse(call, 429, Retry_After=formatdate(time.time() + (call.order.seconds or 2), usegmt=True))


def name_the_limit(call: Call) -> Answer:
    """Answer 429 with the two RateLimit headers."""
    left = f'"api";r=0;t={call.order.seconds or 2:g}'
    policy = '"fixed window";"api";q=500;w=300'
    return refuse(call, 429, RateLimit=left, RateLimit_Policy=policy)


def gate(call: Call) -> Answer:
    """Refuse the file for want of a permission, in the words of the hub."""
    headers = {"X_Error_Code": "GatedRepo", "X_Error_Message": "Access to this model is restricted"}
    status = 403 if call.request.headers.get("Authorization") or call.api.name == "modelscope" else 401
    return refuse(call, status, **(headers if call.api.name == "huggingface" else {}))


def redirect(call: Call, url: str) -> Answer:
    """Send the client elsewhere."""
    return Answer(status=302, headers={"Location": url})


def redirect_in_circles(call: Call) -> Answer:
    """Send the client to where it came from, with another number each time."""
    turn = int(call.request.text("turn", "0")) + 1
    query = urlencode({**call.request.query, "turn": [str(turn)]}, doseq=True)
    return redirect(call, f"{call.request.base}{quote(call.request.path)}?{query}")


def redirect_expired(call: Call) -> Answer:
    """Send the client to the storage with a signature that has expired; or, there, say that it has."""
    if call.api.name == "storage":
        return refuse(call, 403)
    return call.answer(redirects=True, lifetime_s=-60.0)


def cut(call: Call) -> Answer:
    """Close the connection in the middle of the body."""
    answer = call.encoded()
    answer.pieces, answer.closes = first(answer.length // 2, answer.pieces), True
    return answer


def reset(call: Call) -> Answer:
    """Reset the connection in the middle of the body."""
    answer = cut(call)
    answer.resets = True
    return answer


def end_early(call: Call) -> Answer:
    """Say half the length, and send no more than that."""
    answer = call.encoded()
    answer.length //= 2
    answer.pieces = first(answer.length, answer.pieces)
    return answer


def promise_more(call: Call) -> Answer:
    """Say more than comes, and close."""
    answer = call.encoded()
    answer.length += 1000
    answer.closes = True
    return answer


def empty(call: Call) -> Answer:
    """Answer with the right headers, Content-Length 0 and nothing."""
    answer = call.encoded()
    answer.headers.pop("Content-Range", None)
    answer.status, answer.length, answer.pieces = 200, 0, ()
    return answer


def invert(call: Call) -> Answer:
    """Send other bytes, as many."""
    answer = call.encoded()
    answer.pieces = (bytes(byte ^ 0xFF for byte in piece) for piece in answer.pieces)
    return answer


def reset_at_once(call: Call) -> Answer:
    """Reset the connection, with no answer."""
    return Answer(status=0, resets=True)


def name_hostilely(call: Call) -> Answer:
    """Propose a file name that leads out of the folder."""
    answer = call.encoded()
    answer.headers["Content-Disposition"] = 'attachment; filename="../../../hostile.safetensors"'
    return answer


def drip(call: Call) -> Answer:
    """Send a byte at a time."""
    answer = call.encoded()
    answer.waits_s = call.order.seconds or 0.2
    answer.pieces = (bytes([byte]) for piece in answer.pieces for byte in piece)
    return answer


def hang(call: Call) -> Answer:
    """Say nothing for a while, then hang up."""
    return Answer(status=0, waits_s=call.order.seconds or 30.0)


def shift_range(call: Call) -> Answer:
    """Say that the range begins a byte later than asked for."""
    answer = cut(call) if asks_for_all(call) else call.encoded()
    if begin := answer.headers.get("Content-Range", "").removeprefix("bytes ").partition("-")[0]:
        rest = answer.headers["Content-Range"].partition("-")[2]
        answer.headers["Content-Range"] = f"bytes {int(begin) + 1}-{rest}"
    return answer


def lie_about_range(call: Call) -> Answer:
    """Say the right range, and send the beginning of the file."""
    if asks_for_all(call):
        return cut(call)
    answer = call.encoded()
    answer.pieces = first(answer.length, call.answer(headers=Message()).pieces)
    return answer


def ignore_range(call: Call) -> Answer:
    """Send the whole file though a range is asked for."""
    return cut(call) if asks_for_all(call) else call.answer(headers=Message()).encode()


def asks_for_all(call: Call) -> bool:
    """Whether no range is asked for."""
    return not call.request.headers.get("Range")


def compress(call: Call, padding_mb: int) -> Answer:
    """Send the body in gzip though nobody asked for it, `padding_mb` of spaces or zeros in front or behind."""
    answer = call.encoded()
    text = answer.headers.get("Content-Type", "").startswith("application/json")
    padding = itertools.repeat(
        (b" " if text else b"\0") * MB, call.order.mb or padding_mb if padding_mb else 0
    )
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    packed = b"".join(packer.compress(piece) for piece in itertools.chain(answer.pieces, padding))
    packed += packer.flush()
    answer.headers |= {"Content-Encoding": "gzip"}
    answer.pieces, answer.length = (packed,), len(packed)
    return answer


def pad(call: Call) -> Answer:
    """Send spaces in front of the JSON, many."""
    answer, size = call.encoded(), call.order.mb or 64
    answer.pieces = itertools.chain(itertools.repeat(b" " * MB, size), answer.pieces)
    answer.length += size * MB
    return answer


def send(call: Call, content: bytes, kind: str = "application/json") -> Answer:
    """Send a body of another kind with a 200."""
    return Answer(headers={"Content-Type": kind}, pieces=(content,), length=len(content))


def truncate(call: Call) -> Answer:
    """Send half of the JSON as though it were all."""
    answer = call.encoded()
    content = b"".join(answer.pieces)
    return send(call, content[: len(content) // 2])


def first(size: int, pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the first bytes of a body."""
    for piece in pieces:
        yield piece[:size]
        size -= len(piece[:size])
        if not size:
            return
