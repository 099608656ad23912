"""Non-blocking reads and writes on a TCP socket, without the layers in which Trio waits.

Trio's sockets are non-blocking, and each of its calls first tries the system call and then waits. A caller
that has already waited, or does not want to, can make the system call directly: that saves a system call per
read, and the frames of five coroutines per idle socket. Other streams (TLS, in memory) have no such shortcut.
"""

import os

import trio

# On other systems a socket's number is not a file descriptor.
_SOCKETS_ARE_FILES = os.name == "posix"


def socket_of(stream: trio.abc.Stream) -> trio.socket.SocketType | None:
    """Return the socket of a stream, if it can be read and written directly."""
    return stream.socket if _SOCKETS_ARE_FILES and isinstance(stream, trio.SocketStream) else None


def read_now(socket: trio.socket.SocketType, most: int) -> bytes | None:
    """Return the bytes that have arrived, empty at the end, else None. Raises BrokenResourceError."""
    try:
        return os.read(socket.fileno(), most)
    except BlockingIOError:
        return None
    except OSError as error:
        raise trio.BrokenResourceError("The connection is broken.") from error


def write_now(stream: trio.abc.Stream, data: bytes) -> int:
    """Return how many bytes the stream has accepted."""
    socket = socket_of(stream)
    if socket is None:
        return 0
    try:
        return os.write(socket.fileno(), data)
    except OSError:
        # It is full or broken; a send that waits will find out which.
        return 0
