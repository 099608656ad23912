"""The table of close codes: the meaning of each, and whether reconnecting can help."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from portfolio_trio.protocol.codes import CloseCode

if TYPE_CHECKING:
    from collections.abc import Mapping


class CloseMeaning(NamedTuple):
    """The meaning of a close code, and whether a client should reconnect after a pause."""

    reconnect: bool
    meaning: str


CLOSES: Mapping[CloseCode, CloseMeaning] = {
    CloseCode.NORMAL: CloseMeaning(reconnect=False, meaning="One side is done."),
    CloseCode.GOING_AWAY: CloseMeaning(
        reconnect=True, meaning="The server is going away; it or another one will be back soon."
    ),
    CloseCode.PROTOCOL_ERROR: CloseMeaning(
        reconnect=False, meaning="A frame violated the WebSocket protocol."
    ),
    CloseCode.INVALID_UTF8: CloseMeaning(reconnect=False, meaning="A text frame was not UTF-8."),
    CloseCode.POLICY: CloseMeaning(
        reconnect=False, meaning="The client is not permitted: token, origin, or a limit it exceeded."
    ),
    CloseCode.TOO_BIG: CloseMeaning(reconnect=False, meaning="A message was larger than the server accepts."),
    CloseCode.INTERNAL: CloseMeaning(reconnect=True, meaning="The server failed; its log has the cause."),
    CloseCode.OVERLOADED: CloseMeaning(
        reconnect=True,
        meaning="The server is overloaded, or the client did not read its messages in time.",
    ),
}


# Unsupported data and a missing extension do not go away; 1005 is a close without a code.
_HOPELESS: Final = frozenset({1003, 1005, 1010, *(code for code, (again, _) in CLOSES.items() if not again)})


def worth_reconnecting(code: int) -> bool:
    """Whether reconnecting can help after a socket was closed with ``code``; 1006 is a lost connection.

    Codes outside the table, such as a proxy's 1012, count as temporary problems.
    """
    return code not in _HOPELESS
