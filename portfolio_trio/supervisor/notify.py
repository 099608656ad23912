"""Telling systemd that the server serves (``Type=notify``), so that units ordered after it may start."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from typing import Final

_SECONDS: Final = 1.0


def tell_ready() -> None:
    """Report that connections are accepted to the service manager, if it asked for that.

    It is one datagram to the socket named by ``NOTIFY_SOCKET`` (sd_notify(3)); there is no effect if that is
    not set, or nobody listens.
    """
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path.startswith(("/", "@")) or not hasattr(socket, "AF_UNIX"):
        return
    # An @ stands for the zero byte of an abstract socket name.
    address = "\0" + path[1:] if path.startswith("@") else path
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
        line.settimeout(_SECONDS)
        line.sendto(b"READY=1", address)
