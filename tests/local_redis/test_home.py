"""One directory, one server."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from portfolio_trio.local_redis import LocalRedisError
from portfolio_trio.local_redis._home import LOG_BYTES, Home, claim
from tests.local_redis.directories import fresh_directory


@pytest.fixture
def directory() -> Iterator[Path]:
    with fresh_directory() as path:
        yield path


def refusal(directory: Path) -> str:
    with pytest.raises(LocalRedisError) as caught, claim(directory):
        pass
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_it_is_made_and_closed_to_others(directory: Path) -> None:
    with claim(directory / "deep"):
        assert (directory / "deep").stat().st_mode & 0o777 == 0o700
    (directory / "deep").chmod(0o755)
    with claim(directory / "deep"):
        assert (directory / "deep").stat().st_mode & 0o777 == 0o700


def test_a_second_claim_names_directory_and_process(directory: Path) -> None:
    with claim(directory):
        said = refusal(directory)
        assert str(directory) in said
        assert f"process {os.getpid()}" in said
    with claim(directory):
        pass


def test_the_claim_ends_with_the_process_however_it_ends(directory: Path) -> None:
    program = (
        "import os, sys, pathlib\n"
        "from portfolio_trio.local_redis._home import claim\n"
        "with claim(pathlib.Path(sys.argv[1])): os.kill(os.getpid(), 9)\n"
    )
    ended = subprocess.run([sys.executable, "-c", program, str(directory)], check=False)
    assert ended.returncode == -9
    with claim(directory):
        assert (directory / "server.lock").read_text() == f"{os.getpid()}\n"


def test_a_directory_with_other_files_is_left_alone(directory: Path) -> None:
    directory.mkdir(mode=0o755)
    (directory / "thesis.tex").touch()
    assert "contains other files" in refusal(directory)
    assert directory.stat().st_mode & 0o777 == 0o755
    assert [each.name for each in directory.iterdir()] == ["thesis.tex"]


def test_a_fresh_file_system_will_do(directory: Path) -> None:
    (directory / "lost+found").mkdir(parents=True)
    with claim(directory):
        pass


def test_a_file_in_its_place_is_one_line(directory: Path) -> None:
    directory.touch()
    assert "File exists" in refusal(directory)
    assert "Not a directory" in refusal(directory / "below")
    directory.unlink()


def test_a_path_too_long_for_a_socket_is_one_line_and_a_link_to_it_works(directory: Path) -> None:
    long = directory / ("x" * 120)
    assert "too long for a Unix socket" in refusal(long)
    long.mkdir(parents=True)
    link = directory / "short"
    link.symlink_to(long)
    with claim(link) as home:
        assert len(os.fsencode(home.socket)) < 103


def test_the_url_is_quoted() -> None:
    assert Home(Path("/a b/100%?#")).url == "unix:///a%20b/100%25%3F%23/redis.sock"


def test_a_long_log_is_kept_once(directory: Path) -> None:
    directory.mkdir()
    home = Home(directory)
    home.rotate_log()
    for text in ("old", "new"):
        home.log.write_text(text * LOG_BYTES)
        home.rotate_log()
        assert not home.log.exists()
    assert (directory / "redis.log.1").read_text()[:3] == "new"
    home.log.write_text("short")
    home.rotate_log()
    assert home.log.read_text() == "short"


def test_the_last_words_of_a_log(directory: Path) -> None:
    directory.mkdir()
    home = Home(directory)
    assert home.last_words() == f"it printed nothing ({home.log})"
    home.log.write_bytes(b"x" * 10_000 + b"\nBad file format \xff\n\n")
    assert home.last_words() == f"Bad file format \ufffd ({home.log})"
