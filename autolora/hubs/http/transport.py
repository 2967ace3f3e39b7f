"""Connections of downloads: only to addresses that were checked, and given up where next to nothing comes.

A name is resolved once, all its addresses are checked, and one of those is connected to; so a name that resolves
to something else the next time gains nothing. No proxy of the environment is used: it would resolve names itself.
"""

import ipaddress
import socket
import ssl
import time
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any, cast

import httpcore2
import httpx2

from autolora.errors import HubError
from autolora.hubs.http.endpoint import is_local, port_of

TRANSLATED = ipaddress.ip_network("64:ff9b::/96")
"""IPv4 addresses in IPv6 clothes, RFC 6052"""

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@cache
def connections(hub: str, endpoint: str, timeout_s: float, min_kb_per_s: float) -> httpcore2.ConnectionPool:
    """Return the process's connections for one hub and the hosts that it redirects to; kept alive.

    They raise HubError for an address that is not public, unless it is the endpoint's, or both are this machine's.
    """
    dialer = Dialer(hub, httpx2.URL(endpoint), timeout_s, min_kb_per_s)
    return httpcore2.ConnectionPool(
        max_connections=None,
        max_keepalive_connections=20,
        keepalive_expiry=5.0,
        network_backend=cast(httpcore2.NetworkBackend, dialer),
    )


def is_public(address: Address) -> bool:
    """Tell whether an address is one of the open internet, whatever it is dressed up as."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1]
        if address in TRANSLATED:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(inner)
        if address.is_site_local:
            return False
    return address.is_global and not (address.is_multicast or address.is_reserved)


class Dialer:
    """Connects to checked addresses; what httpcore2 calls a network backend."""

    def __init__(self, hub: str, endpoint: httpx2.URL, timeout_s: float, min_kb_per_s: float) -> None:
        self._hub = hub
        self._own, self._is_local = (endpoint.host, port_of(endpoint)), is_local(endpoint)
        self._timeout_s, self._min_kb_per_s = timeout_s, min_kb_per_s

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.NetworkStream:
        """Connect to the first address of a host that answers.

        Raises HubError where one of its addresses is not public, httpcore2.ConnectError where none answers.
        """
        problem: Exception = httpcore2.ConnectError(f"{host} has no address")
        for address in self._addresses(host, port):
            try:
                stream = httpcore2.SyncBackend().connect_tcp(
                    address, port, timeout, local_address, socket_options
                )
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                problem = error
                continue
            return cast(httpcore2.NetworkStream, MeteredStream(stream, self._timeout_s, self._min_kb_per_s))
        raise problem

    def _addresses(self, host: str, port: int) -> list[str]:
        """Resolve a host; all its addresses have to be allowed."""
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise httpcore2.ConnectError(f"{host} cannot be resolved: {error}") from error
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        for address in addresses if (host, port) != self._own else []:
            if not self._allows(ipaddress.ip_address(address.partition("%")[0])):
                raise HubError(
                    f"hub {self._hub}: {host} is at {address}, which is no public address, so it is not asked; "
                    "only the configured endpoint may be private"
                )
        return addresses

    def _allows(self, address: Address) -> bool:
        return is_public(address) or (self._is_local and address.is_loopback)


class MeteredStream:
    """A connection that is given up when less than `min_kb_per_s` comes over `timeout_s` of waiting for it."""

    def __init__(
        self,
        stream: httpcore2.NetworkStream,
        timeout_s: float,
        min_kb_per_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream, self._timeout_s, self._min_kb_per_s = stream, timeout_s, min_kb_per_s
        self._clock = clock
        self._bytes, self._seconds = 0, 0.0

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Read what there is; httpcore2.ReadTimeout where too little came of late."""
        started = self._clock()
        block = self._stream.read(max_bytes, timeout)
        self._seconds += self._clock() - started
        self._bytes += len(block)
        if self._seconds >= self._timeout_s:
            if self._bytes < self._min_kb_per_s * 1000 * self._seconds:
                raise httpcore2.ReadTimeout(
                    f"{self._bytes} bytes in {self._seconds:.1f} s are less than {self._min_kb_per_s:g} kB/s"
                )
            self._bytes, self._seconds = 0, 0.0
        return block

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Send; what is read from now on answers it."""
        self._bytes, self._seconds = 0, 0.0
        self._stream.write(buffer, timeout)

    def close(self) -> None:
        """Close the connection."""
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.NetworkStream:
        """Return the same connection, encrypted, its certificate checked against the host's name."""
        stream = self._stream.start_tls(ssl_context, server_hostname, timeout)
        return cast(httpcore2.NetworkStream, MeteredStream(stream, self._timeout_s, self._min_kb_per_s))

    def get_extra_info(self, info: str) -> Any:
        """Return what httpcore2 wants to know of the socket."""
        return self._stream.get_extra_info(info)
