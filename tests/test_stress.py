"""A short run of the stress test, so that it keeps working."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.aborting import SHAPES, abort_often


def test_a_thousand_switches_leave_nothing_behind() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "tests.stress", "--switches", "1000", "--clients", "8"],
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
        cwd=Path(__file__).parents[1],
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "0 stale messages, 0 runs without an end, 0 tasks left" in ran.stdout


@pytest.mark.parametrize("shape", SHAPES)
def test_clients_that_leave_are_noticed_by_nobody(shape: str) -> None:
    toll = abort_often(shape, 2)
    assert toll.is_clean, f"{toll}\n" + "".join(toll.log)
