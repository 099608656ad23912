"""What the wrapper raises beyond redis-py's own exceptions.

Replies that are errors keep redis-py's classes (``redis.exceptions.ResponseError``
and its children), so code written against redis-py catches them unchanged.
"""

from __future__ import annotations

from redis.exceptions import AuthenticationError, DataError, ReadOnlyError, ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError

__all__ = [
    "CannotConnect",
    "CommandRefused",
    "CrossSlot",
    "ReadOnlyServer",
    "ReplyOverdue",
    "ScriptRejected",
    "TooManyPending",
    "Unavailable",
    "WrongDatabase",
    "WrongPassword",
]


# The names say what is the case, as trio.Cancelled and trio.EndOfChannel do; "Error" at the end
# of each would add nothing (N818).
class Unavailable(RedisConnectionError):  # noqa: N818
    """No reply will come for this command.

    Attributes:
        sent: False when the server cannot have seen the command, which makes sending it
            again safe. True when the outcome is unknown: it may have run.
    """

    def __init__(self, message: str, *, sent: bool = False) -> None:
        super().__init__(message)
        self.sent = sent


class CannotConnect(Unavailable):
    """The first connection failed: nothing listens there, or it is not a Redis we can use."""


class TooManyPending(Unavailable):
    """As many commands or bytes wait as the client allows; this one was not sent."""


class ReplyOverdue(Unavailable):
    """The oldest waiting reply took longer than ``reply_timeout``, so the connection was closed."""


class ReadOnlyServer(Unavailable, ReadOnlyError):  # noqa: N818
    """The server turned into a replica and refused a write; the client connects anew."""


class WrongPassword(AuthenticationError):  # noqa: N818
    """The server refused the user name or the password of the URL."""


class WrongDatabase(ResponseError):  # noqa: N818
    """The database number of the URL does not exist on this server."""


class ScriptRejected(ResponseError):  # noqa: N818
    """The server could not compile a script when it was loaded."""


class CommandRefused(DataError):  # noqa: N818
    """A command that would put a shared connection out of step; the message says what to use instead."""


class CrossSlot(DataError):  # noqa: N818
    """The keys of one call lie in different slots of the cluster, which no single node can serve."""
