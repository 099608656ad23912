"""Exceptions of the wrapper, in addition to redis-py's own.

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


# The names state the condition, as trio.Cancelled and trio.EndOfChannel do; an "Error" suffix would add
# nothing (N818).
class Unavailable(RedisConnectionError):  # noqa: N818
    """This command will get no reply.

    Attributes:
        sent: False when the server cannot have seen the command, which makes sending it
            again safe. True when the outcome is unknown: it may have run.
    """

    def __init__(self, message: str, *, sent: bool = False) -> None:
        super().__init__(message)
        self.sent = sent


class CannotConnect(Unavailable):
    """The first connection failed: nothing listens there, or it is not a usable Redis."""


class TooManyPending(Unavailable):
    """The maximum number of commands or bytes is already waiting; this command was not sent."""


class ReplyOverdue(Unavailable):
    """The oldest waiting reply took longer than ``reply_timeout``, so the connection was closed."""


class ReadOnlyServer(Unavailable, ReadOnlyError):  # noqa: N818
    """The server has become a replica and refused a write; the client reconnects."""


class WrongPassword(AuthenticationError):  # noqa: N818
    """The server refused the user name or the password of the URL."""


class WrongDatabase(ResponseError):  # noqa: N818
    """The database number of the URL does not exist on this server."""


class ScriptRejected(ResponseError):  # noqa: N818
    """The server could not compile a script when it was loaded."""


class CommandRefused(DataError):  # noqa: N818
    """A command that must not run on a shared connection; the message says what to use instead."""


class CrossSlot(DataError):  # noqa: N818
    """The keys of one call are in different slots of the cluster, which one call cannot serve."""
