"""JSON entries of Civitai's files: their hashes, their format, and the type of model that they contain."""

import hashlib
import zlib
from collections.abc import Mapping
from functools import cache
from typing import Any

from playground.hubs.http_messages import Request
from playground.hubs.repos import Blob, Repo
from playground.hubs.state import Hub

TYPE_BY_KEY = {b"lokr_w": "LoCon", b"hada_w": "LoCon", b"dora_scale": "DoRA", b"magnitude_vector": "DoRA"}
HEADER = 1 << 20
SCAN = {
    "pickleScanResult": "Success",
    "pickleScanMessage": "No Pickle imports",
    "virusScanResult": "Success",
    "virusScanMessage": None,
}


def describe_files(hub: Hub, request: Request, repo: Repo) -> list[dict[str, Any]]:
    """Return the entries of the weight files, the primary file first.

    The schedule's override `names` (path -> name) replaces file names.
    """
    url = f"{request.base}/api/download/models/{hub.civitai_ids.version(repo)}"
    names: Mapping[str, str] = repo.overrides.get("civitai", {}).get("names", {})
    files: list[dict[str, Any]] = []
    for path in repo.head.weights:
        blob, file_id = repo.head.blobs[path], hub.civitai_ids.file(repo, path)
        primary: dict[str, Any] = {"primary": True} if not files else {}
        files.append(
            {
                "id": file_id,
                "sizeKB": blob.size / 1024,
                "name": names.get(path, path.rpartition("/")[2]),
                "type": "Model",
                **SCAN,
                "scannedAt": repo.created_at,
                "metadata": describe_format(path, blob),
                "hashes": hash_blob(blob),
                "downloadUrl": url if primary else f"{url}?type=Model&fileId={file_id}",
                **primary,
            }
        )
    return files


@cache
def hash_blob(blob: Blob) -> dict[str, str]:
    """Return Civitai's name of the hash -> a file's hash, in upper case."""
    content = blob.read(0, blob.size)
    data = content[8 + int.from_bytes(content[:8], "little") :]
    hashes = {
        "AutoV1": hashlib.sha256(content[0x100000:0x110000]).hexdigest()[:8],
        "AutoV2": blob.sha256[:10],
        "AutoV3": hashlib.sha256(data).hexdigest()[:12],
        "SHA256": blob.sha256,
        "CRC32": f"{zlib.crc32(content):08x}",
    }
    return {name: value.upper() for name, value in hashes.items()}


@cache
def describe_format(path: str, blob: Blob) -> dict[str, Any]:
    """Return a file's metadata: its format (by the name) and dtype (by the header)."""
    header = blob.read(0, min(blob.size, HEADER))
    fp = "bf16" if b'"BF16"' in header else "fp32" if b'"F32"' in header else "fp16"
    return {"format": "SafeTensor" if path.endswith(".safetensors") else "PickleTensor", "fp": fp}


@cache
def model_type(blob: Blob) -> str:
    """Return the type of a weight file, LORA, LoCon or DoRA, by the key names in its header."""
    header = blob.read(0, min(blob.size, HEADER))
    return next((name for key, name in TYPE_BY_KEY.items() if key in header), "LORA")
