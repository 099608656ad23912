"""The floors of the package: a room imports only from lower floors, so there are no import cycles.

    python -m tests.test_rooms

prints them as in docs/architecture.md, and counts rooms, floors and imports.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

import portfolio_trio

ROOT: Final = Path(__file__).parents[1]
PACKAGE: Final = Path(portfolio_trio.__file__).parent
ARCHITECTURE: Final = ROOT / "docs" / "architecture.md"

# Lines, with docstrings.
LONGEST_MODULE: Final = 400
LONGEST_FUNCTION: Final = 50

# Top floor first. Rooms of one floor do not import each other.
FLOORS: Final = (
    {"__main__"},
    {"cli"},
    {"server"},
    {"session", "supervisor"},
    {"peers", "settings"},
    {"hub", "settings_values"},
    {"access", "client", "local_redis", "market", "store"},
    {"faults", "http", "logs", "metrics", "protocol", "redis", "restart_policy"},
    {
        "backoff",
        "canonical",
        "escaping",
        "locks",
        "log_throttle",
        "nurseries",
        "right_of_way",
        "settings_flags",
        "targets",
        "telemetry",
        "tickers",
        "times",
        "web",
    },
)
FLOOR_OF: Final = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}


def modules() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        relative = path.relative_to(PACKAGE)
        if relative != Path("__init__.py"):
            yield relative.parts[0].removesuffix(".py"), ast.parse(path.read_text(), str(relative))


def imported_rooms(tree: ast.Module) -> Iterator[str]:
    """Rooms that a module names, inside functions and for type checkers, too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "portfolio_trio":
            _, *below = (node.module or "").split(".")
            yield from below[:1] or (alias.name for alias in node.names)
        elif isinstance(node, ast.Import):
            for alias in node.names:
                top, *below = alias.name.split(".")
                if top == "portfolio_trio":
                    yield from below[:1]


def imported_packages(tree: ast.Module) -> set[str]:
    """The top-level packages that a module names."""
    packages = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            packages.add((node.module or "").split(".")[0])
        elif isinstance(node, ast.Import):
            packages |= {alias.name.split(".")[0] for alias in node.names}
    return packages


def arrows() -> set[tuple[str, str]]:
    """Which room imports which other one."""
    return {
        (room, other)
        for room, tree in modules()
        for other in imported_rooms(tree)
        if other not in {room, "__version__"}
    }


def drawing() -> str:
    """Each room on its floor, with the first sentence of its docstring."""
    lines = []
    for number, rooms in enumerate(FLOORS):
        for room in sorted(rooms):
            module = PACKAGE / f"{room}.py"
            path = module if module.exists() else PACKAGE / room / "__init__.py"
            sentence = (ast.get_docstring(ast.parse(path.read_text())) or "").split("\n")[0]
            lines.append(f"{len(FLOORS) - number}  {room:<16}{sentence}")
    return "\n".join(lines)


def test_every_room_has_a_floor() -> None:
    rooms = {
        path.name.removesuffix(".py") for path in PACKAGE.iterdir() if path.suffix == ".py" or path.is_dir()
    }
    assert rooms - {"__init__", "__pycache__", "_lua", "py.typed"} == set(FLOOR_OF)


def test_arrows_point_downwards_only() -> None:
    upwards = {f"{room} -> {other}" for room, other in arrows() if FLOOR_OF[other] <= FLOOR_OF[room]}
    assert not upwards


def test_the_architecture_page_draws_them() -> None:
    assert f"```\n{drawing()}\n```" in ARCHITECTURE.read_text(), "draw it anew: python -m tests.test_rooms"


def test_every_room_says_what_it_is_and_what_it_may_import() -> None:
    for package in sorted(path for path in PACKAGE.iterdir() if (path / "__init__.py").exists()):
        text = ast.get_docstring(ast.parse((package / "__init__.py").read_text())) or ""
        assert "mport" in text, f"{package.name}/__init__.py does not say what the room may import"


def test_no_module_is_too_long_to_read_at_once() -> None:
    lengths = {
        path.relative_to(PACKAGE).as_posix(): len(path.read_text().splitlines())
        for path in PACKAGE.rglob("*.py")
    }
    assert not {name for name, lines in lengths.items() if lines >= LONGEST_MODULE}


@pytest.mark.parametrize("folder", [PACKAGE, ROOT / "tests", ROOT / "benchmarks", ROOT / "examples"])
def test_no_function_is_too_long_to_read_at_once(folder: Path) -> None:
    functions = (
        (path.name, node)
        for path in folder.rglob("*.py")
        if "node_modules" not in path.parts
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )
    too_long = {
        f"{module}: {node.name}"
        for module, node in functions
        if (node.end_lineno or 0) - node.lineno >= LONGEST_FUNCTION
    }
    assert not too_long


def test_only_the_client_speaks_by_trio_websocket() -> None:
    users = {room for room, tree in modules() if "trio_websocket" in imported_packages(tree)}
    assert users == {"client"}


if __name__ == "__main__":
    sys.stdout.write(f"{drawing()}\n\n{len(FLOOR_OF)} rooms, {len(FLOORS)} floors, {len(arrows())} arrows\n")
