"""The one table of close codes: what each says, and whether connecting again can help."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from portfolio_trio.protocol.codes import CloseCode

if TYPE_CHECKING:
    from collections.abc import Mapping


class CloseMeaning(NamedTuple):
    """What a close code says, and whether a client should connect again, after a pause."""

    reconnect: bool
    meaning: str


CLOSES: Mapping[CloseCode, CloseMeaning] = {
    CloseCode.NORMAL: CloseMeaning(reconnect=False, meaning="One side is done."),
    CloseCode.GOING_AWAY: CloseMeaning(
        reconnect=True, meaning="The server is going away; another one, or the same, is there soon."
    ),
    CloseCode.PROTOCOL_ERROR: CloseMeaning(
        reconnect=False, meaning="A frame came that does not belong there."
    ),
    CloseCode.INVALID_UTF8: CloseMeaning(reconnect=False, meaning="A text frame was not UTF-8."),
    CloseCode.POLICY: CloseMeaning(
        reconnect=False, meaning="The client may not be here: token, origin or a limit that it broke."
    ),
    CloseCode.TOO_BIG: CloseMeaning(reconnect=False, meaning="A message was larger than the server takes."),
    CloseCode.INTERNAL: CloseMeaning(reconnect=True, meaning="A fault of the server; its log has the cause."),
    CloseCode.OVERLOADED: CloseMeaning(
        reconnect=True,
        meaning="Too much is going on, or the client did not read what was sent to it in time.",
    ),
}


# Unsupported data and a missing extension stay what they are; 1005 is a goodbye without a code.
_HOPELESS: Final = frozenset({1003, 1005, 1010, *(code for code, (again, _) in CLOSES.items() if not again)})


def worth_reconnecting(code: int) -> bool:
    """Whether connecting again can help after a socket was closed with ``code``; 1006 is a lost connection.

    Codes outside the table, as a proxy's 1012, are taken for passing troubles.
    """
    return code not in _HOPELESS
