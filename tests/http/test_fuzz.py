"""A few hundred cases of the fuzzer in each run of the tests; a separate session runs many more."""

import pytest

from tests.http.fuzz import run_cases
from tests.http.memory_server import VIRTUAL_TIME

pytestmark = VIRTUAL_TIME


@pytest.mark.parametrize("seed", [1, 2])
async def test_random_clients(seed: int) -> None:
    failures = await run_cases(seed, first=0, count=150)
    assert not failures
