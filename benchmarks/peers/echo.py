"""The socket path alone: a server on Trio that sends every message back.

ours:        the HTTP server and the WebSocket of this package.
websockets:  the server of `websockets.trio`, without compression and pings.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

import trio
from websockets.exceptions import ConnectionClosed
from websockets.trio.server import serve

from portfolio_trio.http import Disconnected, HttpServer, Upgrade, accept_websocket, serve_listeners

if TYPE_CHECKING:
    from websockets.trio.server import ServerConnection


async def _echo(upgrade: Upgrade) -> None:
    async with accept_websocket(upgrade) as transport:
        try:
            while True:
                # As a session sends: wait for what the socket does not accept at once.
                if not transport.send_now([str(await transport.receive())]):
                    await transport.send([])
        except Disconnected:
            return


async def ours(port: int) -> None:
    """Serve until the process ends."""
    server = HttpServer(routes={}, websocket=_echo)
    listeners = await trio.open_tcp_listeners(port, host="127.0.0.1")
    async with trio.open_nursery() as nursery:
        await serve_listeners(listeners, server.serve, handler_nursery=nursery)


async def _echo_of_websockets(connection: ServerConnection) -> None:
    try:
        while True:
            await connection.send(await connection.recv())
    except ConnectionClosed:
        return


async def websockets(port: int) -> None:
    """Serve until the process ends."""
    await serve(_echo_of_websockets, port, host="127.0.0.1", compression=None, ping_interval=None)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--server", choices=("ours", "websockets"), required=True)
    words = parser.parse_args()
    trio.run(ours if words.server == "ours" else websockets, words.port)
