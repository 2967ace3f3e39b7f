"""A real S3 server (SeaweedFS) on loopback, with one identity and its data in one folder."""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import DEVNULL, Popen
from typing import Any

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.session import get_session

from playground.repository import free_port

START_LIMIT_S = 300
VOLUMES = 20
PORTS = (
    "s3.port", "s3.port.grpc", "master.port", "master.port.grpc", "volume.port", "volume.port.grpc", "filer.port",
    "filer.port.grpc",
)  # fmt: skip


@dataclass(frozen=True)
class S3Server:
    """A running server."""

    endpoint: str
    access_key: str
    secret_key: str

    def client(self) -> Any:
        """Return a client of the server."""
        return get_session().create_client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            region_name="us-east-1",
            config=Config(retries={"max_attempts": 1}, connect_timeout=30, read_timeout=120),
        )

    def remote_settings(self) -> dict[str, str]:
        """Return the settings of a DVC remote on this server, but its URL (s3://bucket/folder)."""
        return {
            "endpointurl": self.endpoint,
            "access_key_id": self.access_key,
            "secret_access_key": self.secret_key,
        }


@contextmanager
def s3_server(folder: Path, *buckets: str, volume_mb: int = 64) -> Iterator[S3Server]:
    """Run a server until the block ends. It starts in about 7 seconds.

    buckets: names of at least 3 characters. volume_mb: size of each of its VOLUMES files, the first of which exist from
    the beginning.
    """
    data = folder / "s3"
    data.mkdir(parents=True)
    server = S3Server(f"http://127.0.0.1:{(ports := _ports())['s3.port']}", "access", "secret")
    identity = {
        "name": "tests",
        "credentials": [{"accessKey": server.access_key, "secretKey": server.secret_key}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
    options = {"ip": "127.0.0.1", "ip.bind": "127.0.0.1", "dir": data, "s3.config": folder / "s3.json"}
    options |= {
        "master.volumeSizeLimitMB": volume_mb,
        "volume.max": VOLUMES,
        "s3.port.iceberg": 0,
        "s3.port.lance": 0,
    }
    options |= {"master.telemetry": "false", **ports}
    program = Path(sys.executable).with_name("weed")
    command = [str(program), "server", "-s3", *(f"-{name}={value}" for name, value in options.items())]
    process = Popen(command, stdout=DEVNULL, stderr=(folder / "s3.log").open("w"), cwd=folder)
    try:
        for bucket in buckets or ("ready",):
            _create_bucket(server, bucket, process)
        yield server
    finally:
        process.kill()  # it would take half a minute to end by itself
        process.wait()


def _ports() -> dict[str, int]:
    """Return distinct free ports of all services."""
    chosen: dict[str, int] = {}
    while len(chosen) < len(PORTS):
        port = free_port()
        if port not in chosen.values():
            chosen[PORTS[len(chosen)]] = port
    return chosen


def _create_bucket(server: S3Server, bucket: str, process: Popen[bytes]) -> None:
    """Create a bucket, as soon as the server can."""
    limit = time.monotonic() + START_LIMIT_S
    while True:
        assert process.poll() is None, f"weed ended with {process.returncode}"
        try:
            server.client().create_bucket(Bucket=bucket)
            server.client().put_object(Bucket=bucket, Key="ready", Body=b"1")
            return
        except (BotoCoreError, ClientError):
            assert time.monotonic() < limit, f"no bucket could be created in {START_LIMIT_S} s"
            time.sleep(1)
