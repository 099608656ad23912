"""Opening a byte stream to an address."""

from __future__ import annotations

import socket
import ssl
from typing import TYPE_CHECKING

import anyio
from anyio.abc import SocketAttribute

from portfolio_trio.redis.errors import CannotConnect

if TYPE_CHECKING:
    from anyio.abc import ByteStream

    from portfolio_trio.redis._url import Endpoint


async def dial(endpoint: Endpoint) -> ByteStream:
    """Connect to one server.

    Raises:
        CannotConnect: Nothing answers there, or the TLS handshake failed.
    """
    try:
        if endpoint.path:
            return await anyio.connect_unix(endpoint.path)
        return await _dial_tcp(endpoint)
    except ssl.SSLError as error:
        raise CannotConnect(
            f"TLS with {endpoint.address} failed: {error}; check certificate, ssl_ca_certs and host name"
        ) from error
    except (OSError, anyio.BrokenResourceError, anyio.EndOfStream) as error:
        raise CannotConnect(
            f"cannot connect to Redis at {endpoint.address}: {_reason(error)}; "
            f"start a server there or name another in the URL"
        ) from error


async def _dial_tcp(endpoint: Endpoint) -> ByteStream:
    if endpoint.tls is None:
        stream: ByteStream = await anyio.connect_tcp(endpoint.host, endpoint.port)
    else:
        stream = await anyio.connect_tcp(
            endpoint.host, endpoint.port, ssl_context=endpoint.tls, tls_standard_compatible=False
        )
    # This is the stream's attribute, not Django's (S610).
    raw = stream.extra(SocketAttribute.raw_socket)  # noqa: S610
    raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    return stream


def _reason(error: Exception) -> str:
    # anyio hides "Connection refused" behind "All connection attempts failed".
    cause = error.__cause__ if isinstance(error.__cause__, OSError) else error
    return str(cause) or "the connection was cut"
