"""Telling systemd that the server serves (``Type=notify``), so that what is ordered after it may start."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from typing import Final

_SECONDS: Final = 1.0


def tell_ready() -> None:
    """Say that connections are accepted, to whoever started this process and asked to be told.

    It is one datagram to the socket that ``NOTIFY_SOCKET`` names (sd_notify(3)); nothing happens where there
    is none, or nobody listens.
    """
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path.startswith(("/", "@")) or not hasattr(socket, "AF_UNIX"):
        return
    # An @ stands for the zero byte of a name that is no file.
    address = "\0" + path[1:] if path.startswith("@") else path
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
        line.settimeout(_SECONDS)
        line.sendto(b"READY=1", address)
