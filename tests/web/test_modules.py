"""The logic of the page: the unit tests of its modules, if Node is installed."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

TESTS = sorted((Path(__file__).parents[1] / "browser" / "js").glob("*.test.js"))
OLDEST = 20


@pytest.fixture(scope="module")
def node() -> str:
    program = shutil.which("node")
    if program is None:
        pytest.skip("no Node: the page's modules are tested in nox -s browser")
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    found = re.match(r"v(\d+)\.", said)
    if found is None or int(found[1]) < OLDEST:
        pytest.skip(f"the page's modules want Node {OLDEST}, not {said.strip()}")
    return program


def test_the_modules_do_what_they_say(node: str) -> None:
    assert TESTS
    ran = subprocess.run(
        [node, "--test", *map(str, TESTS)], capture_output=True, text=True, check=False, timeout=120
    )
    assert ran.returncode == 0, ran.stdout
