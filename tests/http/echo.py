"""An echo server on the HTTP server, for conformance suites that want one.

    python -m tests.http.echo 9001
    wstest --mode fuzzingclient --spec fuzzingclient.json

The suite of the Autobahn project (`wstest`) is the usual one. It wants binary messages back as well, which
the product never sends; they are framed here.
"""

from __future__ import annotations

import struct
import sys

import trio

from portfolio_trio.http import Disconnected, HttpServer, Upgrade, accept_websocket, serve_listeners
from portfolio_trio.http.websocket import WebSocketTransport

BIG = 64 * 2**20


def binary_frame(payload: bytes) -> bytes:
    """A whole binary message as a server's frame."""
    size = len(payload)
    if size < 126:
        return struct.pack("!BB", 0x82, size) + payload
    if size < 65_536:
        return struct.pack("!BBH", 0x82, 126, size) + payload
    return struct.pack("!BBQ", 0x82, 127, size) + payload


async def echo(upgrade: Upgrade) -> None:
    """Send every message back."""
    async with accept_websocket(upgrade, max_message_bytes=BIG) as transport:
        while True:
            try:
                await send_back(transport, await transport.receive())
            except Disconnected:
                return


async def send_back(transport: WebSocketTransport, message: str | bytes) -> None:
    if isinstance(message, str):
        await transport.send([message])
        return
    try:
        await transport.sender.send(binary_frame(message))
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        raise Disconnected(1006) from None


async def main(port: int) -> None:
    """Serve on loopback until killed."""
    memory_server = HttpServer(routes={}, websocket=echo)
    listeners = await trio.open_tcp_listeners(port, host="127.0.0.1")
    async with trio.open_nursery() as nursery:
        await serve_listeners(listeners, memory_server.serve, handler_nursery=nursery)


if __name__ == "__main__":
    trio.run(main, int(sys.argv[1]))
