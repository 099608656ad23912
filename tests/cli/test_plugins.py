"""A really installed plug-in package."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

EXAMPLE = Path(__file__).parents[2] / "examples" / "plugin_package.py"


def test_an_installed_package_adds_its_metric_and_its_prices() -> None:
    # hatchling is a test dependency, so that building the plug-in fetches nothing.
    ran = subprocess.run(
        [sys.executable, str(EXAMPLE), "--no-build-isolation", "--no-index"],
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert ran.returncode == 0, ran.stderr
    lines = [line.split() for line in ran.stdout.splitlines()]
    assert [metric for _, metric, _ in lines][-1] == "worst_day"
    assert len(lines) == 6
    assert float(lines[-1][2]) < 0
