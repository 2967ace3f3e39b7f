"""Warm processes: `python -m flows.…` and `dvc` forked from a server that has imported their libraries once.

A refresh starts 14 Pythons, which import the same libraries for 23 seconds of processor time. In an environment from
`warm_programs`, `python` and `dvc` are scripts that start this file as a client. For a flow or DVC, the client hands
its arguments, folder, environment and standard streams to the server, waits, and exits with the status of the process
that the server forks; anything else becomes a real process. Of the project the server imports nothing: a fork reads
autolora and flows from the folder it starts in, as a real process does.

What differs from real processes, and who must not use them:
- A fork is no descendant of its caller, and gets no signal that is sent to it: tests that kill, interrupt or limit
  the time of processes start real ones (`Repository.start` and `Repository.environment`).
- A fork inherits only standard streams. The lock that a refresh passes on to DVC (flows/dvc_process.py) is held all
  the same: the client inherits it, and ends after the fork.
- What Python does before a module starts has happened in the server: with PYTHONPATH (as for tests/support/tracer),
  real processes are started; all forks of a server have the same order of sets.

tests/integration/test_refresh.py compares their results (the clone) with those of real processes (the first day).
"""

import atexit
import gc
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from pkgutil import resolve_name
from subprocess import PIPE
from tempfile import TemporaryDirectory
from typing import Any

IMPORTED = (
    *("torch", "safetensors.torch", "peft", "lancedb", "lance", "scipy.stats", "psutil", "openai"),
    *(f"transformers:{name}" for name in ("CLIPTextModel", "CLIPTokenizer", "T5EncoderModel")),
    *(f"diffusers:{name}" for name in ("AutoencoderKL", "FluxPipeline", "FluxTransformer2DModel")),
    *("prefect", "prefect.flow_engine", "prefect.task_engine", "prefect.artifacts", "prefect.events"),
    *("dvc.cli.parser", "dvc.repo", "scmrepo.git"),
    "multiprocessing.spawn",  # keeps the real `sys.executable`
)
"""slow imports; lancedb starts its thread again in a fork, and here nothing runs in it that a fork could cut off"""
SCRIPT = '#!/bin/sh\nexec "{python}" -SIE "{client}" "{folder}" {words} "$@"\n'
MESSAGE_BYTES = 2**20


@contextmanager
def warm_programs() -> Iterator[Path]:
    """Run a server until the block ends; yield a folder of programs for the front of PATH."""
    import flows  # noqa: F401  sets the defaults of Prefect's settings, which the server's own import reads

    with TemporaryDirectory(prefix="warm-") as name:
        folder = Path(name)
        for program, words in {"python": "", "dvc": "-m dvc"}.items():
            script = SCRIPT.format(python=sys.executable, client=__file__, folder=folder, words=words)
            (folder / program).write_text(script)
            (folder / program).chmod(0o700)
        command = [sys.executable, "-m", __name__, name]
        with subprocess.Popen(
            command, stdin=PIPE, stdout=PIPE, stderr=subprocess.DEVNULL, start_new_session=True
        ) as server:
            assert server.stdout and server.stdout.readline(), "the server of warm processes has not started"
            yield folder


def call(folder: str, words: list[str]) -> int | None:
    """Return the exit status of a warm process, or become a real one."""
    is_warm = words[:1] == ["-m"] and (words[1] == "dvc" or words[1].startswith("flows."))
    if not is_warm or "PYTHONPATH" in os.environ:
        os.execv(sys.executable, [sys.executable, *words])
    request = {"words": words, "folder": os.getcwd(), "environment": dict(os.environ)}
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as server:
        server.connect(f"{folder}/socket")
        socket.send_fds(server, [json.dumps(request).encode()], [0, 1, 2])
        return int(server.recv(MESSAGE_BYTES) or 1)


def serve(listener: socket.socket) -> dict[str, Any]:
    """Fork for each request: return it in the forked process, and send its exit status to the caller."""
    running: dict[int, tuple[int, socket.socket]] = {}
    while True:
        ready, _, _ = select.select([0, listener, *running], [], [])
        if 0 in ready:  # the process that started this one has closed its end, or has ended
            os.killpg(0, signal.SIGKILL)
        for ended in running.keys() & ready:
            pid, caller = running.pop(ended)
            os.close(ended)
            _, status = os.waitpid(pid, 0)
            with caller, suppress(OSError):  # it may have been killed
                caller.send(str(os.waitstatus_to_exitcode(status)).encode())
        if listener in ready:
            caller, _ = listener.accept()
            request, streams, _, _ = socket.recv_fds(caller, MESSAGE_BYTES, 3)
            if not (pid := os.fork()):
                for connection in (listener, caller, *(other for _, other in running.values())):
                    connection.close()
                for number, stream in enumerate(streams):
                    os.dup2(stream, number)
                    os.close(stream)
                return json.loads(request)
            running[os.pidfd_open(pid)] = pid, caller
            for stream in streams:
                os.close(stream)


def become(request: dict[str, Any], folder: str) -> int:
    """Run a module as `python -m` does, and return the exit status."""
    from prefect.context import refresh_global_settings_context

    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    refresh_global_settings_context()  # such as the server's address, else each flow starts a server of its own
    sys.executable = f"{folder}/python"  # so that its own flows and DVC are warm
    sys.path[0] = request["folder"]
    sys.argv = request["words"][1:]
    try:
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def leave(status: int) -> None:
    """End as Python does, but without freeing the libraries one by one, for which it takes three seconds."""
    threading._shutdown()  # type: ignore[attr-defined]  # waits for threads
    atexit._run_exitfuncs()
    sys.stdout.flush()
    os._exit(status)


def main(folder: str, *words: str) -> int | None:
    if __package__ is None:  # started as a file
        return call(folder, list(words))
    for name in IMPORTED:
        resolve_name(name)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(f"{folder}/socket")
        listener.listen()
        gc.freeze()  # collections of garbage in forks leave out what is imported, so that its pages stay shared
        print("ready", flush=True)
        request = serve(listener)
    leave(become(request, folder))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
