from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from pathlib import Path
from shutil import copy, copytree
from typing import Final

import pytest

import portfolio_trio
import portfolio_trio.store.scripts as scripts_module
from portfolio_trio.store.scripts import NAMES, ScriptsNotFound, all_scripts, script, script_folder
from tests.store.lua_bytecode import globals_of

ROOT: Final = Path(__file__).resolve().parents[2]
LUA: Final = ROOT / "lua"
# What every engine gives a script; no more is used.
ALLOWED: Final = {
    "ARGV",
    "KEYS",
    "ipairs",
    "pairs",
    "math",
    "redis",
    "string",
    "table",
    "tonumber",
    "tostring",
    "type",
    "unpack",
}


def header_of(path: Path) -> str:
    lines = path.read_text().splitlines()
    return "\n".join(
        line for line in lines[: next(n for n, line in enumerate(lines) if not line.startswith("--"))]
    )


def test_every_file_is_a_script_or_included_by_one() -> None:
    included = {
        name
        for path in LUA.iterdir()
        for name in re.findall(r"^-- include (\S+)$", path.read_text(), re.MULTILINE)
    }
    assert {path.name for path in LUA.iterdir()} == {f"{name}.lua" for name in NAMES} | included


@pytest.mark.parametrize("name", NAMES)
def test_the_header_names_keys_arguments_reply_and_fence(name: str) -> None:
    header = header_of(LUA / f"{name}.lua")
    assert header.startswith(f"-- {name}: ")
    for word in (r"KEYS", r"ARGV ", r"reply ", r"fence "):
        assert re.search(rf"^-- {word}", header, re.MULTILINE), word


@pytest.mark.parametrize("name", NAMES)
def test_a_script_assigns_no_global_and_reads_only_known_ones(name: str) -> None:
    found = globals_of(script(name).source)
    assert found.written == set()
    assert found.read - ALLOWED == set()


def test_the_bytecode_scan_sees_globals_in_nested_functions() -> None:
    found = globals_of(
        "local a = 1.5; local f = function() return function() leak = other(a, true, nil, 's') end end"
    )
    assert (found.read, found.written) == ({"other"}, {"leak"})


@pytest.mark.parametrize("name", NAMES)
def test_a_script_keeps_to_what_all_engines_understand(name: str) -> None:
    source = script(name).source
    code = "\n".join(line.split("--")[0] for line in source.splitlines())
    assert "#!" not in source
    assert "include" not in code
    for absent in ("JSON.MERGE", "JSON.NUMINCRBY", "cjson", "JSON.DEL"):
        assert absent not in code
    # Always $ paths: the others are wrapped differently from engine to engine.
    assert not re.search(r"'JSON\.(GET|SET|MSET)',\s*key\s*[),]?\s*'[^$]", code)


def test_scripts_are_read_once_and_have_their_own_hash() -> None:
    assert script("trade") is script("trade")
    assert len({one.sha for one in all_scripts()}) == len(NAMES)


def test_a_checkout_finds_the_top_level_folder() -> None:
    assert Path(str(script_folder())) == LUA


def test_a_package_without_scripts_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(scripts_module, "files", lambda _: tmp_path)
    monkeypatch.setattr(portfolio_trio, "__file__", str(tmp_path / "a" / "__init__.py"))
    with pytest.raises(ScriptsNotFound, match="reinstall portfolio-trio"):
        script_folder()
    (tmp_path / "_lua").mkdir()
    with pytest.raises(ScriptsNotFound, match=r"no nothing\.lua"):
        script("nothing")


def test_an_installed_wheel_finds_its_own_scripts(tmp_path: Path) -> None:
    pytest.importorskip("hatchling", reason="building the wheel needs hatchling")
    project = tmp_path / "project"
    project.mkdir()
    for name in ("pyproject.toml", "LICENSE"):
        copy(ROOT / name, project)
    (project / "README.md").write_text("A stand-in: what the wheel says of itself is not looked at here.\n")
    for name in ("lua", "portfolio_trio"):
        copytree(ROOT / name, project / name)
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path / "dist")]
    subprocess.run(build, cwd=project, check=True, capture_output=True)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    installed = tmp_path / "installed"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(installed)
    ask = (
        "from portfolio_trio.store.scripts import all_scripts, script_folder; "
        "print(script_folder()); print(*[script.sha for script in all_scripts()])"
    )
    # Neither the working directory nor PYTHONPATH may lend the checkout's scripts.
    run = [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {str(installed)!r}); {ask}"]
    answer = subprocess.run(run, cwd=tmp_path, check=True, capture_output=True, text=True).stdout.splitlines()
    assert answer == [str(installed / "portfolio_trio" / "_lua"), " ".join(one.sha for one in all_scripts())]
