"""TCP connections of requests to hubs: only to checked addresses, and aborted if data arrives too slowly.

A host name is resolved once, all its addresses are checked, and the connection uses one of these addresses,
which prevents DNS rebinding. Proxies from the environment are ignored, since a proxy would resolve host names
itself.
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

NAT64 = ipaddress.ip_network("64:ff9b::/96")
"""IPv6 addresses that contain an IPv4 address, RFC 6052"""

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@cache
def connection_pool(
    hub: str, endpoint: str | None, timeout_s: float, min_kb_per_s: float
) -> httpcore2.ConnectionPool:
    """Return the process-wide pool of keep-alive connections to one hub and the hosts that it redirects to.

    endpoint: the hub's URL; None if the user has not chosen it. A connection to an address that is not public
    raises HubError, unless it is an address of the endpoint, or both are on this machine.
    """
    backend = CheckedBackend(hub, httpx2.URL(endpoint or ""), timeout_s, min_kb_per_s)
    return httpcore2.ConnectionPool(
        max_connections=None,
        max_keepalive_connections=20,
        keepalive_expiry=5.0,
        network_backend=cast(httpcore2.NetworkBackend, backend),
    )


def is_public(address: Address) -> bool:
    """Return whether an address, or the IPv4 address that an IPv6 address contains, is publicly routable."""
    if isinstance(address, ipaddress.IPv6Address):
        embedded = address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1]
        if address in NAT64:
            embedded = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if embedded is not None:
            return is_public(embedded)
        if address.is_site_local:
            return False
    return address.is_global and not (address.is_multicast or address.is_reserved)


class CheckedBackend:
    """An httpcore2 network backend that connects to allowed addresses only."""

    def __init__(self, hub: str, endpoint: httpx2.URL, timeout_s: float, min_kb_per_s: float) -> None:
        self._hub = hub
        self._endpoint, self._is_local = (endpoint.host, port_of(endpoint)), is_local(endpoint)
        self._timeout_s, self._min_kb_per_s = timeout_s, min_kb_per_s

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.NetworkStream:
        """Connect to the first address of a host that accepts the connection.

        Raises HubError if one of the addresses is not allowed, httpcore2.ConnectError if no address accepts.
        """
        last_error: Exception = httpcore2.ConnectError(f"{host} has no address")
        for address in self._addresses(host, port):
            try:
                stream = httpcore2.SyncBackend().connect_tcp(
                    address, port, timeout, local_address, socket_options
                )
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                last_error = error
                continue
            return cast(httpcore2.NetworkStream, MeteredStream(stream, self._timeout_s, self._min_kb_per_s))
        raise last_error

    def _addresses(self, host: str, port: int) -> list[str]:
        """Return the addresses of a host. Raises HubError unless all of them are allowed."""
        try:
            entries = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise httpcore2.ConnectError(f"the host name {host} cannot be resolved: {error}") from error
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in entries))
        for address in addresses if (host, port) != self._endpoint else []:
            if not self._allows(ipaddress.ip_address(address.partition("%")[0])):
                raise HubError(
                    f"hub {self._hub}: {host} resolves to {address}, which is not a public address; only the "
                    "configured endpoint may have a private address"
                )
        return addresses

    def _allows(self, address: Address) -> bool:
        return is_public(address) or (self._is_local and address.is_loopback)


class MeteredStream:
    """A connection whose reads time out if less than `min_kb_per_s` arrives over `timeout_s` of reading."""

    def __init__(
        self,
        stream: httpcore2.NetworkStream,
        timeout_s: float,
        min_kb_per_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream, self._timeout_s, self._min_kb_per_s = stream, timeout_s, min_kb_per_s
        self._clock = clock
        self._bytes_read, self._read_seconds = 0, 0.0

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Return the available bytes. Raises httpcore2.ReadTimeout if the recent data rate is too low."""
        started = self._clock()
        chunk = self._stream.read(max_bytes, timeout)
        self._read_seconds += self._clock() - started
        self._bytes_read += len(chunk)
        if self._read_seconds >= self._timeout_s:
            if self._bytes_read < self._min_kb_per_s * 1000 * self._read_seconds:
                raise httpcore2.ReadTimeout(
                    f"{self._bytes_read} bytes in {self._read_seconds:.1f} s is less than {self._min_kb_per_s:g} kB/s"
                )
            self._bytes_read, self._read_seconds = 0, 0.0
        return chunk

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Send bytes and restart the measurement: the data that follows belongs to another response."""
        self._bytes_read, self._read_seconds = 0, 0.0
        self._stream.write(buffer, timeout)

    def close(self) -> None:
        """Close the connection."""
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.NetworkStream:
        """Return the connection with TLS, after its certificate was checked against the host name."""
        stream = self._stream.start_tls(ssl_context, server_hostname, timeout)
        return cast(httpcore2.NetworkStream, MeteredStream(stream, self._timeout_s, self._min_kb_per_s))

    def get_extra_info(self, info: str) -> Any:
        """Return a property of the socket that httpcore2 requests."""
        return self._stream.get_extra_info(info)
