"""A real PostgreSQL server on loopback with an empty database: that of Debian's package `postgresql`."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from playground.repository import free_port
from tests.support.programs import require

INSTALLED = Path("/usr/lib/postgresql")
USER, PASSWORD = "postgres", "secret"
"""PostgreSQL refuses to run as root: then this user of the system, whom the package makes, runs it"""


@dataclass(frozen=True)
class Database:
    """An empty database."""

    programs: Path
    port: int
    name: str = "prefect"

    @property
    def address(self) -> str:
        """Its address as USER:PASSWORD@HOST:PORT."""
        return f"{USER}:{PASSWORD}@127.0.0.1:{self.port}"

    def ask(self, query: str, database: str | None = None) -> str:
        """Return the rows of a query as text."""
        uri = f"postgresql://{self.address}/{database or self.name}"
        command = [str(self.programs / "psql"), uri, "-At", "-c", query]
        return subprocess.run(command, text=True, capture_output=True, check=True).stdout


@contextmanager
def postgres() -> Iterator[Database]:
    """Run a server until the block ends. Without PostgreSQL see tests/support/programs.py."""
    programs = max((path.parent for path in INSTALLED.glob("*/bin/initdb")), default=None)
    require(programs is not None, "postgresql")
    folder = Path(tempfile.mkdtemp(prefix="postgres"))
    if is_root := os.geteuid() == 0:
        shutil.chown(folder, USER, USER)
    prefix = ["runuser", "-u", USER, "--"] if is_root else []

    def run(program: str, *arguments: str) -> None:
        command = [*prefix, str(programs / program), "-D", str(folder / "data"), *arguments]
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)

    database = Database(programs, free_port())
    options = f"-p {database.port} -k {folder} -c listen_addresses=127.0.0.1"
    try:
        (folder / "password").write_text(PASSWORD)
        run("initdb", "-U", USER, "--auth=scram-sha-256", f"--pwfile={folder / 'password'}")
        run("pg_ctl", "start", "-w", "-l", str(folder / "log"), "-o", options)
        database.ask(f"create database {database.name}", USER)
        yield database
    finally:
        if (folder / "data" / "postmaster.pid").exists():
            run("pg_ctl", "stop", "-m", "immediate")
        shutil.rmtree(folder)
