"""Hostile HTTP requests to the page, each drawn from a seed; `ATTACKS` has one function per kind."""

import json
import random
import struct
from urllib.parse import quote

from tests.support.png import bomb, png

Draw = random.Random
FOREIGN = ("https://evil.example", "null", "http://127.0.0.1.evil.example", "file://", "http://localhost:1")
UP = ("../", "..%2f", "%2e%2e/", "..\\", "....//", "%252e%252e%252f", "..%c0%af", "/", "%00/", "..%5c")
ROOTS = (
    "/static/",
    "/components/",
    "/images/",
    "/generated/",
    "/glyphs/",
    "/parts/adapters/",
    "/api/adapters/",
    "/",
)
INJECTIONS = (
    "%0d%0aInjected:%20yes", "%0aSet-Cookie:%20evil=1", "\r\nInjected: yes", "%E5%98%8A%E5%98%8DInjected:yes",
)  # fmt: skip
INVALID_JSON = (
    b"{", b"[" * 30_000, b'{"prompt": "\\ud800"}', b"\xff\xfe", b'{"prompt": 1}', b"null", b"NaN",
    b'{"prompt": "a", "seed": 1e400}', b'{"prompt": "a", "adapters": [{"sha256": "../x"}]}',
)  # fmt: skip
STRANGE = (
    "-1", "9" * 400, "nan", "inf", "../../secret.txt", "%00", "{{7*7}}", "${x}", "a" * 5000, "%ff%fe",
)  # fmt: skip
TARGETS = ("secret.txt", "params.yaml", "etc/passwd", "cache/served", "web/app.py", "data/catalog.jsonl")


def make_request(
    path: str, host: str, *headers: str, method: str = "GET", body: bytes = b"", length: int | None = None
) -> bytes:
    """Return a request; length: what it states, if not the length of the body."""
    if method != "GET":
        headers = (*headers, f"Content-Length: {len(body) if length is None else length}")
    head = [f"{method} {path} HTTP/1.1", f"Host: {host}", "Connection: close", *headers]
    return "\r\n".join(head).encode("latin-1", "replace") + b"\r\n\r\n" + body


def traversal(draw: Draw, host: str) -> bytes:
    target = draw.choice(TARGETS)
    path = draw.choice(ROOTS) + draw.choice(UP) * draw.randint(1, 12) + target
    return make_request(path + draw.choice(["", ".webp", "%00.webp", "/320.webp", ".png"]), host)


def absolute_target(draw: Draw, host: str) -> bytes:
    return make_request(
        draw.choice(["file:///etc/passwd", "http://evil.example/", "//evil.example/", "*"]), host
    )


def foreign_host(draw: Draw, host: str) -> bytes:
    name = draw.choice(
        ["evil.example", f"{host}.evil.example", f"evil@{host}x", "", "[", "169.254.169.254", "\x00"]
    )
    return make_request(draw.choice(["/", "/api/search", "/static/main.js"]), name)


def two_hosts(draw: Draw, host: str) -> bytes:
    return make_request("/", host, "Host: evil.example")


def foreign_origin(draw: Draw, host: str) -> bytes:
    body = json.dumps({"prompt": "a cat", "adapters": []}).encode()
    origin = draw.choice(
        [f"Origin: {draw.choice(FOREIGN)}", "Sec-Fetch-Site: cross-site", f"Origin: http://{host}x"]
    )
    kind = draw.choice(["application/json", "text/plain", "application/x-www-form-urlencoded"])
    path = draw.choice(["/api/images", "/api/files", "/api/provenance", "/parts/provenance"])
    return make_request(path, host, origin, f"Content-Type: {kind}", method="POST", body=body)


def foreign_delete(draw: Draw, host: str) -> bytes:
    path = f"/api/images/{draw.randbytes(16).hex()}"
    return make_request(
        path, host, f"Origin: {draw.choice(FOREIGN)}", method=draw.choice(["DELETE", "PUT", "PATCH"])
    )


def header_injection(draw: Draw, host: str) -> bytes:
    injected = draw.choice(INJECTIONS)
    path = draw.choice(["/?q=", "/api/search?q=", "/nothing/", "/?token=", "/api/files?name="])
    return make_request(path + injected, host)


def huge_upload(draw: Draw, host: str) -> bytes:
    path = draw.choice(["/api/files", "/api/provenance", "/api/images"])
    stated = draw.choice([10**9, 10**18, 3_000_000_000])
    return make_request(path, host, method="POST", body=b"x" * 1000, length=stated)


def chunked_upload(draw: Draw, host: str) -> bytes:
    path = draw.choice(["/api/files", "/api/images"])
    chunk = b"100000\r\n" + b"x" * 0x100000 + b"\r\n"
    head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    return head + chunk * draw.randint(3, 5) + b"0\r\n\r\n"


def broken_length(draw: Draw, host: str) -> bytes:
    stated = draw.choice(["-1", "1e3", "0x10", " ", "9" * 30, "5, 6", "+4"])
    lines = [f"POST /api/files HTTP/1.1\r\nHost: {host}\r\nContent-Length: {stated}\r\n\r\nxxxx"]
    return "".join(lines).encode()


def smuggling(draw: Draw, host: str) -> bytes:
    head = (
        f"POST /api/files HTTP/1.1\r\nHost: {host}\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    return head.encode() + b"0\r\n\r\nGET /api/images HTTP/1.1\r\nHost: evil.example\r\n\r\n"


def bomb_image(draw: Draw, host: str) -> bytes:
    body = draw.choice(
        [bomb(draw.choice([8_000, 30_000, 60_000])), png("[" * draw.choice([10_000, 300_000]))]
    )
    return make_request(draw.choice(["/api/provenance", "/parts/provenance"]), host, method="POST", body=body)


def compressed_body(draw: Draw, host: str) -> bytes:
    return make_request(
        "/api/files", host, "Content-Encoding: gzip", method="POST", body=b"\x1f\x8b" + bytes(99)
    )


def hostile_lora(draw: Draw, host: str) -> bytes:
    claims = {
        "length": struct.pack("<Q", draw.choice([2**63, 2**40, 10**8])) + b"{",
        "tensor": header(
            {"x.lora_A.weight": {"dtype": "F32", "shape": [2**30, 2**30], "data_offsets": [0, 8]}}
        ),
        "offsets": header({"x.lora_A.weight": {"dtype": "F32", "shape": [2], "data_offsets": [-8, 10**12]}}),
        "nested": struct.pack("<Q", 100_000) + b"[" * 100_000,
        "pickle": b"\x80\x04cos\nsystem\n(S'id'\ntR.",
        "random": draw.randbytes(draw.randint(1, 5000)),
    }
    return make_request("/api/files", host, method="POST", body=claims[draw.choice(sorted(claims))])


def header(tensors: dict[str, object]) -> bytes:
    """Return a safetensors file with this header and no data."""
    text = json.dumps(tensors).encode()
    return struct.pack("<Q", len(text)) + text


def malformed_multipart(draw: Draw, host: str) -> bytes:
    kind = draw.choice(
        ["multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; boundary=x"]
    )
    part = b'--x\r\nContent-Disposition: form-data; name="f"; filename="../../secret.txt"\r\n\r\n'
    body = part + draw.randbytes(200)
    path = draw.choice(["/api/files", "/api/provenance", "/api/images", "/parts/provenance"])
    return make_request(path, host, f"Content-Type: {kind}", method="POST", body=body)


def invalid_json(draw: Draw, host: str) -> bytes:
    body = draw.choice(INVALID_JSON)
    return make_request("/api/images", host, "Content-Type: application/json", method="POST", body=body)


def filter_injection(draw: Draw, host: str) -> bytes:
    text = draw.choice(
        ["mit' OR 1=1 --", "x'); DROP TABLE adapters; --", "mit\\' OR nsfw", "a' AND nsfw AND 'a'='a"]
    )
    field = draw.choice(["license", "base", "hub"])
    return make_request(f"/api/search?{field}={quote(text)}", host)


def strange_query(draw: Draw, host: str) -> bytes:
    field = draw.choice(
        ["k", "max_rank", "max_mb", "since", "like", "file", "adapter", "use", "before", "nsfw"]
    )
    text = draw.choice(STRANGE)
    return make_request(f"{draw.choice(['/', '/api/search', '/compare', '/generate'])}?{field}={text}", host)


def script_in_prompt(draw: Draw, host: str) -> bytes:
    text = draw.choice(
        ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "{{config}}", "\ud7ff\ufffe"]
    )
    return make_request(f"/?q={quote(text)}", host)


def random_bytes(draw: Draw, host: str) -> bytes:
    return draw.randbytes(draw.randint(1, 3000)) + b"\r\n\r\n"


def long_headers(draw: Draw, host: str) -> bytes:
    return make_request(
        "/", host, *[f"X-{number}: {'x' * 1000}" for number in range(draw.choice([100, 200]))]
    )


def upgrade(draw: Draw, host: str) -> bytes:
    key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
    return make_request(
        "/", host, "Upgrade: websocket", key, "Sec-WebSocket-Version: 13", "Origin: http://evil.example"
    )


def wrong_method(draw: Draw, host: str) -> bytes:
    path = draw.choice(["/", "/api/search", "/static/main.js", "/pool", "/generate"])
    return make_request(
        path, host, method=draw.choice(["POST", "PUT", "DELETE", "TRACE", "CONNECT", "PROPFIND"])
    )


def incomplete(draw: Draw, host: str) -> bytes:
    request = make_request("/api/files", host, method="POST", body=draw.randbytes(300), length=1000)
    return request[: draw.randint(1, len(request))]


ATTACKS = (
    traversal, absolute_target, foreign_host, two_hosts, foreign_origin, foreign_delete, header_injection, huge_upload,
    chunked_upload, broken_length, smuggling, bomb_image, compressed_body, hostile_lora, malformed_multipart,
    invalid_json, filter_injection, strange_query, script_in_prompt, random_bytes, long_headers, upgrade, wrong_method,
    incomplete,
)  # fmt: skip
HARMLESS = (filter_injection, strange_query, script_in_prompt, header_injection, absolute_target, upgrade, long_headers,
            traversal)  # fmt: skip
"""may be answered with an ordinary page or an empty result, which the other assertions examine"""
