"""What the command line loads, and when."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Final

import pytest

from portfolio_trio import __version__
from portfolio_trio.cli.commands import _COMMANDS
from portfolio_trio.cli.main import COMMANDS, main

# Prints the modules that a statement has loaded besides the standard library: third-party ones and ours.
LOADED: Final = """
import contextlib, io, json, sys
before = set(sys.modules)
with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):
    {statement}
ours = {{name for name in sys.modules if name.split(".")[0] == "portfolio_trio"}}
others = {{name.split(".")[0] for name in set(sys.modules) - before}} - sys.stdlib_module_names
print(json.dumps(sorted(ours | others - {{"portfolio_trio"}})))
"""


def loaded_by(statement: str) -> set[str]:
    command = [sys.executable, "-c", LOADED.format(statement=statement)]
    return set(json.loads(subprocess.run(command, capture_output=True, check=True, timeout=60).stdout))


@pytest.mark.parametrize("words", [["--help"], ["--version"], []])
def test_help_loads_nothing_but_the_standard_library(words: list[str]) -> None:
    loaded = loaded_by(f"from portfolio_trio.cli.main import main; sys.stderr = io.StringIO(); main({words})")
    assert loaded == {"portfolio_trio", "portfolio_trio.cli", "portfolio_trio.cli.main"}


def test_settings_and_a_supervisor_need_no_arithmetic_and_no_engine() -> None:
    loaded = loaded_by(
        "from portfolio_trio.cli.commands import run;"
        "import portfolio_trio.supervisor.supervisor; run('serve', ['--help'])"
    )
    assert "pydantic" in loaded
    assert not loaded & {
        "numpy",
        "fakeredis",
        "lupa",
        "rich",
        "portfolio_trio.server",
        "portfolio_trio.metrics",
    }


def test_each_command_that_help_names_is_there() -> None:
    assert list(COMMANDS) == list(_COMMANDS)


def test_help_and_version_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert all(f"\n  {name} " in text for name in COMMANDS)
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out == f"portfolio-trio {__version__}\n"
