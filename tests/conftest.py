"""What all tests share."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Final

import pytest
import redis
from hypothesis import settings

from tests.store.engines import Engine
from tests.support.redis_servers import NO_JSON_SERVER, TEST_URL, find_json_server

ENGINES: Final = ("embedded", "server")
_SEEN: Final = pytest.StashKey[dict[str, str]]()

# The same examples on each run, so that a red run is red again; HYPOTHESIS_PROFILE=explore draws new ones.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.register_profile("explore", deadline=None)
# What differs from one Python to the next shows in few of them.
settings.register_profile("brief", derandomize=True, deadline=None, max_examples=20)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))


@pytest.fixture(autouse=True)
def no_settings_of_the_tester(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server in a test has the settings that the test gives it."""
    for name in list(os.environ):
        if name.startswith("PORTFOLIO_") and not name.startswith("PORTFOLIO_TEST_"):
            monkeypatch.delenv(name)


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_SEEN] = {}


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    seen = config.stash[_SEEN]
    if seen:
        terminalreporter.section("engines and figures")
        for name, what in seen.items():
            terminalreporter.line(f"{name}: {what}")


@pytest.fixture
def say(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Adds a line to the summary of the run: what was measured on the way, and never asserted."""
    return request.config.stash[_SEEN].__setitem__


@pytest.fixture(scope="session")
def server_url(request: pytest.FixtureRequest) -> Iterator[str | None]:
    """A Redis with JSON that the tests may empty, or None."""
    with find_json_server() as url:
        request.config.stash[_SEEN]["server"] = _described(url)
        yield url


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> Engine:
    if request.param == "server":
        url: str | None = request.getfixturevalue("server_url")
        if url is None:
            pytest.skip(NO_JSON_SERVER)
        return Engine("server", url)
    request.config.stash[_SEEN]["embedded"] = "fakeredis, in process"
    return Engine("embedded", "embedded://")


@pytest.fixture
def engines(request: pytest.FixtureRequest, server_url: str | None) -> list[Engine]:
    """Every engine there is."""
    request.config.stash[_SEEN]["embedded"] = "fakeredis, in process"
    found = [Engine("embedded", "embedded://")]
    return found if server_url is None else [*found, Engine("server", server_url)]


def _described(url: str | None) -> str:
    if url is None:
        return f"NONE ({NO_JSON_SERVER})"
    with redis.Redis.from_url(url) as client:
        if os.environ.get(TEST_URL) and client.dbsize():
            pytest.exit(f"{TEST_URL} names a database that is not empty; these tests flush it", returncode=3)
        info = client.info("server")
        modules = client.info("modules").get("modules", [])
    version = info.get("valkey_version") or info["redis_version"]
    named = [f"{module['name']} {module['ver']}" for module in modules if "json" in module["name"].lower()]
    return (
        f"{info.get('server_name', 'redis')} {version} with {', '.join(named) or 'no JSON module'} at {url}"
    )
