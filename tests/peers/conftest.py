"""The Redis that servers share as processes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.processes import TICKING, Pair, Shared, lasting_redis, two_processes

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def redis() -> Iterator[Shared]:
    with lasting_redis() as shared:
        yield shared


@pytest.fixture(scope="module")
def redis_pair() -> Iterator[Pair]:
    with lasting_redis() as shared, two_processes(shared, *TICKING) as pair:
        yield pair
