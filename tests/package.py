"""Build wheel and sdist, and use each from a directory that is not the repository.

    python -m tests.package

Wants `build`, `twine` and `check-wheel-contents`; `nox -s package` brings them. The exit status is 0 if what
a user installs works and brings nothing that only tests need.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import venv
import zipfile
from pathlib import Path
from typing import Final

from portfolio_trio import __version__

ROOT: Final = Path(__file__).parents[1]
# What tests, linters and docs need, and a user does not.
UNWANTED: Final = frozenset(
    [
        "pytest",
        "hypothesis",
        "ruff",
        "mypy",
        "scipy",
        "pandas",
        "sphinx",
        "nox",
        "coverage",
        "trustme",
        "websockets",
    ]
)
IMPORT_ALL: Final = """
import importlib, pkgutil
import portfolio_trio
for found in pkgutil.walk_packages(portfolio_trio.__path__, "portfolio_trio."):
    if not found.name.endswith("__main__"):
        importlib.import_module(found.name)
"""


def main() -> None:
    """Build, look in, install, use.

    Raises:
        SystemExit: Something is not as it should be.
    """
    with tempfile.TemporaryDirectory(prefix="portfolio-trio-package-") as temporary:
        place = Path(temporary)
        # First the sdist, then the wheel from what it holds: so both are complete.
        run(place, sys.executable, "-m", "build", "--outdir", str(place / "dist"), str(ROOT))
        (wheel,) = (place / "dist").glob("*.whl")
        (sdist,) = (place / "dist").glob("*.tar.gz")
        run(place, sys.executable, "-m", "twine", "check", "--strict", str(wheel), str(sdist))
        run(place, sys.executable, "-m", "check_wheel_contents", "--toplevel", "portfolio_trio", str(wheel))
        look_into(wheel)
        use(place, wheel)
    print(f"portfolio-trio {__version__}: wheel and sdist work")


def look_into(wheel: Path) -> None:
    """The scripts and the marker of types are there, and nothing of the tests."""
    names = zipfile.ZipFile(wheel).namelist()
    scripts = {f"portfolio_trio/_lua/{path.name}" for path in (ROOT / "lua").glob("*.lua")}
    missing = (scripts | {"portfolio_trio/py.typed"}) - set(names)
    require(not missing, f"the wheel lacks {sorted(missing)}")
    strangers = [name for name in names if not name.startswith(("portfolio_trio/", "portfolio_trio-"))]
    require(not strangers, f"the wheel holds {strangers}")


def use(place: Path, wheel: Path) -> None:
    """Install the wheel alone, and run what it brings."""
    venv.create(place / "venv", with_pip=True)
    python = place / "venv" / ("Scripts" if os.name == "nt" else "bin") / "python"
    run(place, str(python), "-m", "pip", "install", "--quiet", str(wheel))
    installed = json.loads(run(place, str(python), "-m", "pip", "list", "--format", "json"))
    unwanted = {each["name"].lower() for each in installed} & UNWANTED
    require(not unwanted, f"the wheel brings {sorted(unwanted)}")
    program = str(python.with_name("portfolio-trio"))
    require(run(place, program, "--version") == f"portfolio-trio {__version__}\n", "--version says otherwise")
    run(place, str(python), "-c", IMPORT_ALL)
    require("completed" in run(place, program, "demo", "--plain"), "the demo did not complete")


def run(place: Path, *command: str) -> str:
    """What a command prints, started where nothing of the repository is found.

    Raises:
        SystemExit: It failed.
    """
    clean = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PORTFOLIO_"))
    }
    ended = subprocess.run(command, cwd=place, env=clean, capture_output=True, text=True, check=False)
    require(ended.returncode == 0, f"{' '.join(command)}:\n{ended.stdout}{ended.stderr}")
    return ended.stdout


def require(holds: bool, complaint: str) -> None:  # noqa: FBT001 - it reads as a sentence
    """Stop with the complaint unless it holds."""
    if not holds:
        raise SystemExit(complaint)


if __name__ == "__main__":
    main()
