"""Runs the page on a host and port."""

import errno
import ipaddress
import secrets
import socket
import webbrowser
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import uvicorn

from autolora.errors import MissingArtifact
from autolora.params import Params
from autolora.web.app import create_app
from autolora.web.connections import BoundedProtocol
from autolora.web.guard import LOOPBACK_NAMES, access_to

TOKEN_VARIABLE = "AUTOLORA_TOKEN"
MIN_TOKEN = 16
"""characters: a shorter one can be guessed"""
BACKLOG = 128
GRACE_S = 3
"""for requests that are running when the page is stopped"""
MAX_CONNECTIONS = 256
"""at the same time; further ones are answered with 503"""


@dataclass(frozen=True, slots=True)
class Address:
    """Where the page listens."""

    listener: socket.socket
    host: str
    token: str | None
    is_token_new: bool
    """whether the token was made for this address, and does not come from the environment"""

    @property
    def url(self) -> str:
        """Return the address to open, with the token if one is needed."""
        return self._with_token(self.token)

    @property
    def printed_url(self) -> str:
        """Return the address for the terminal and logs: a token from the environment is named and not shown."""
        return self.url if self.is_token_new or not self.token else self._with_token(f"${TOKEN_VARIABLE}")

    def _with_token(self, token: str | None) -> str:
        host = "localhost" if self.host in ("0.0.0.0", "::") else self.host
        shown = f"[{host}]" if ":" in host else host
        query = f"?token={token}" if token else ""
        return f"http://{shown}:{self.listener.getsockname()[1]}/{query}"


def listen(host: str, port: int, environment: Mapping[str, str]) -> Address:
    """Return an address on which nothing is answered yet; port 0 chooses a free one.

    A token is needed if other machines can connect: that of the environment variable AUTOLORA_TOKEN, or a new one.
    Raises MissingArtifact if the address cannot be used, or the token is too short.
    """
    given = environment.get(TOKEN_VARIABLE) or None
    if given is not None and len(given) < MIN_TOKEN:
        raise MissingArtifact(
            f"{TOKEN_VARIABLE} has {len(given)} characters, expected at least {MIN_TOKEN}: set it to the output of "
            "`openssl rand -hex 16`, or unset it"
        )
    token = secrets.token_urlsafe(24) if given is None and host not in LOOPBACK_NAMES else given
    try:
        family = socket.AF_INET6 if _is_version_6(host) else socket.AF_INET
        listener = socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise MissingArtifact(
            f"the page cannot listen on {host}:{port} ({error.strerror}): {_remedy(error)}"
        ) from error
    # asyncio sets it only on sockets whose protocol is stated; without it, each answer on a kept connection waits 40 ms
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return Address(listener, host, token, is_token_new=given is None)


def make_server(root: Path, params: Params, address: Address, started: Callable[[], None]) -> uvicorn.Server:
    """Return a server, to be run with the address's listener. It calls `started` when the page can be opened."""
    app = create_app(root, params, access_to(address.host, address.token), started)
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ws="none",
        http=BoundedProtocol,
        limit_concurrency=MAX_CONNECTIONS,
        timeout_graceful_shutdown=GRACE_S,
    )
    return uvicorn.Server(config)


def open_browser(url: str) -> None:
    """Open the page in the visitor's browser."""
    webbrowser.open(url)


def _remedy(error: OSError) -> str:
    """Return what to do if an address cannot be used: a port may be taken or reserved, else the host is wrong."""
    if error.errno in (errno.EADDRINUSE, errno.EACCES):
        return "give another --port, or 0 for a free one"
    return "give as --host an address of this machine: 127.0.0.1, or 0.0.0.0 for all of its addresses"


def _is_version_6(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).version == 6
    except ValueError:
        return False
