"""A takedown with a DVC remote on a real S3 server."""

from pathlib import Path

import pytest

from autolora.catalog import takedowns
from flows.dvc_objects import EMPTY_MD5
from tests.support import takedown_repo as repo
from tests.support.s3 import S3Server, s3_server
from tests.support.takedown_repo import CAT, INK, OWN


@pytest.mark.core
def test_content_is_erased_on_s3_and_old_releases_still_pull(tmp_path: Path) -> None:
    with s3_server(tmp_path / "server", "pool") as server:
        root = repo.make_repository(tmp_path / "repo", "s3://pool/objects", **server.remote_settings())
        before = sizes(server)
        done = repo.take_down(root, "civitai:7", "--reason", "asked", "--apply")
        assert done.returncode == 0 and "erased in remote store: 2 files, 0.013 MB" in done.stdout, (
            done.stderr
        )
        after = sizes(server)
        md5s = {md5 for row in takedowns.read(root).rows for md5 in row.md5}
        assert {oid for oid, size in after.items() if not size} == md5s | {EMPTY_MD5} and len(md5s) == 2
        assert {oid: before[oid] for oid in before.keys() - md5s}.items() <= after.items()
        repo.commit(root, "takedown")
        proven = repo.take_down(root, "--prove")
        assert proven.returncode == 0 and "name in remote store, data/pool" in proven.stdout, proven.stderr
        assert server.client().put_object(
            Bucket="pool", Key=f"objects/files/md5/00/{'0' * 30}", Body=INK.encode()
        )
        assert f"in remote store, no revision lists it ({'0' * 32})" in repo.take_down(root, "--prove").stdout
        for rev in ("old", "HEAD"):
            clone = repo.clone(root, tmp_path / rev, repo.run(root, "git", "rev-parse", rev).strip())
            pulled = repo.contents(clone)
            assert {sha256 for sha256, size in pulled.items() if not size} == {INK, OWN} and len(pulled) == 6
            path = clone / f"data/pool/batches/{repo.BATCH}/weights/{CAT}.safetensors"
            assert path.read_bytes() == repo.content(CAT)


def sizes(server: S3Server) -> dict[str, int]:
    """Return md5 -> size of each object of the remote."""
    listed = server.client().list_objects_v2(Bucket="pool", Prefix="objects/files/md5/")["Contents"]
    return {"".join(item["Key"].split("/")[-2:]): item["Size"] for item in listed}
