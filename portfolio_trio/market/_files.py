"""Reading whole files that another program replaces while this one runs."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

from portfolio_trio.market._errors import PriceFileError

if TYPE_CHECKING:
    from pathlib import Path

Version = tuple[int, int, int, int, int]


@dataclass(frozen=True, slots=True)
class FileContent:
    """One version of a file.

    Attributes:
        content: All its bytes.
        version: Identifies the version: device, inode, size and both change times.
    """

    content: bytes
    version: Version


def version_of(path: Path) -> Version:
    """Return the identity of this version of the file. `PriceFileError` if there is no file."""
    try:
        return _version(path.stat())
    except OSError as error:
        raise _cannot(path, error) from None


def modified_at(version: Version) -> float:
    """When the version was written, seconds since 1970."""
    return version[3] / 1e9


def read_regular(path: Path, *, max_bytes: int) -> FileContent:
    """Read a whole regular file. Blocks: call it in a worker thread.

    Raises:
        PriceFileError: It is missing, unreadable, not a regular file or larger than `max_bytes`, or it
            changed while it was read, so that the bytes may be a mixture of two versions.
    """
    try:
        # Checked before opening: opening a pipe would wait for its writer.
        if not stat.S_ISREG(path.stat().st_mode):
            raise PriceFileError(path, "not a regular file")
        with path.open("rb") as file:
            before = _version(os.fstat(file.fileno()))
            content = file.read(max_bytes + 1)
            after = _version(os.fstat(file.fileno()))
    except OSError as error:
        raise _cannot(path, error) from None
    if len(content) > max_bytes:
        raise PriceFileError(path, f"larger than {max_bytes:,} bytes")
    if _changed(before, after):
        raise PriceFileError(path, "changed while it was read; replace it atomically (write, then rename)")
    return FileContent(content, before)


def _version(status: os.stat_result) -> Version:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _changed(before: Version, after: Version) -> bool:
    # Except the last field: a rename over an open file changes its link count, and so its ctime, but no data.
    return before[:4] != after[:4]


def _cannot(path: Path, error: OSError) -> PriceFileError:
    return PriceFileError(path, (error.strerror or str(error)).lower())
