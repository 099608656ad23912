"""What a TCP socket gives and takes at once, past the layers in which Trio waits for it.

Trio's sockets do not block, and each of its calls tries the system's first and waits then. Who has waited
already, or does not want to, calls the system alone: that saves a system call for each read, and the frames
of five coroutines for each socket that is idle. Other streams (TLS, in memory) have no such short way.
"""

import os

import trio

# Elsewhere the number of a socket is not that of a file.
_SOCKETS_ARE_FILES = os.name == "posix"


def socket_of(stream: trio.abc.Stream) -> trio.socket.SocketType | None:
    """Return the socket below a stream, if it can be read and written as it is."""
    return stream.socket if _SOCKETS_ARE_FILES and isinstance(stream, trio.SocketStream) else None


def read_now(socket: trio.socket.SocketType, most: int) -> bytes | None:
    """Return what has come, empty at the end; None if nothing has. Raises BrokenResourceError."""
    try:
        return os.read(socket.fileno(), most)
    except BlockingIOError:
        return None
    except OSError as error:
        raise trio.BrokenResourceError("The connection is broken.") from error


def write_now(stream: trio.abc.Stream, data: bytes) -> int:
    """Return how many bytes the stream has taken."""
    socket = socket_of(stream)
    if socket is None:
        return 0
    try:
        return os.write(socket.fileno(), data)
    except OSError:
        # It is full or broken: a send that waits finds out which.
        return 0
