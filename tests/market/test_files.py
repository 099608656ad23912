"""Reading files that others replace: what is refused, and how versions are told apart."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from portfolio_trio.market import PriceFileError
from portfolio_trio.market._files import read_regular, version_of


def test_content_and_version(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"abc")
    file = read_regular(path, max_bytes=3)
    assert file.content == b"abc"
    assert file.version == version_of(path)


def test_every_replacement_is_another_version(tmp_path: Path) -> None:
    path, new = tmp_path / "f", tmp_path / "new"
    path.write_bytes(b"abc")
    before = path.stat()
    versions = [version_of(path)]
    new.write_bytes(b"abd")
    # As `cp -p` or `rsync -t` would: the same size and time of change.
    os.utime(new, ns=(before.st_atime_ns, before.st_mtime_ns))
    new.replace(path)
    versions.append(version_of(path))
    path.write_bytes(b"abcd")
    versions.append(version_of(path))
    assert len(set(versions)) == 3


def test_a_change_in_place_that_hides_its_time_is_another_version(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"abc")
    before, version = path.stat(), version_of(path)
    # A file system's clock has a grain of some milliseconds.
    while path.stat().st_ctime_ns == before.st_ctime_ns:
        path.write_bytes(b"abd")
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert version_of(path) != version


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(PriceFileError, match=r"none\.csv: no such file or directory$"):
        read_regular(tmp_path / "none.csv", max_bytes=1)
    with pytest.raises(PriceFileError, match="no such file"):
        version_of(tmp_path / "none.csv")


def test_a_folder_and_a_pipe_are_no_files(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in (tmp_path, pipe, Path(os.devnull)):
        with pytest.raises(PriceFileError, match="not a regular file"):
            read_regular(path, max_bytes=1)


def test_a_file_that_is_too_large(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"abcd")
    with pytest.raises(PriceFileError, match="larger than 3 bytes"):
        read_regular(path, max_bytes=3)


def test_a_file_that_is_written_while_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"half")
    fstat = os.fstat
    calls: list[int] = []

    def writer_in_between(descriptor: int) -> Any:
        status = fstat(descriptor)
        if not calls:
            with path.open("ab") as file:
                file.write(b" and half")
        calls.append(descriptor)
        return status

    monkeypatch.setattr(os, "fstat", writer_in_between)
    with pytest.raises(PriceFileError, match="changed while it was read"):
        read_regular(path, max_bytes=100)
    assert read_regular(path, max_bytes=100).content == b"half and half"
