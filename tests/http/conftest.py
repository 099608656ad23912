import pytest
import trio

from tests.http.memory_server import MemoryServer


@pytest.fixture
def memory_server(nursery: trio.Nursery) -> MemoryServer:
    """An HTTP server in memory."""
    return MemoryServer(nursery)
