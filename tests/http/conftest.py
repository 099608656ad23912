import pytest
import trio

from tests.http.door import Door


@pytest.fixture
def door(nursery: trio.Nursery) -> Door:
    """A front door in memory."""
    return Door(nursery)
