"""The newest state of a session, as it is kept for as long as the session has sockets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from portfolio_trio.protocol.messages import Portfolio, Valued

if TYPE_CHECKING:
    from collections.abc import Mapping

_APART: Final = frozenset({"id", "values", "valued", "holdings", "version"})
_OTHERS: Final = tuple(name for name in Portfolio.model_fields if name not in _APART)
# Stands for the empty mappings of all sessions, and is never modified.
_EMPTY: Final[dict[str, Any]] = {}


class KeptState:
    """A state, without the values of its lines and the id of its answer, in half the memory of the message.

    Attributes:
        version: The version of the holdings.
        holdings: The holdings.
        tick_id: The tick that the total value is of.
    """

    __slots__ = ("_as_of", "_others", "holdings", "tick_id", "version")

    def __init__(self, state: Portfolio) -> None:
        self.version = state.version
        self.holdings: Mapping[str, float] = state.holdings
        self.tick_id, self._as_of = state.valued.tick_id, state.valued.as_of
        values = (getattr(state, name) for name in _OTHERS)
        self._others = tuple(_EMPTY if value == _EMPTY else value for value in values)

    def message(self) -> Portfolio:
        """The message again."""
        fields: dict[str, Any] = dict(zip(_OTHERS, self._others, strict=True))
        fields |= {"version": self.version, "holdings": dict(self.holdings)}
        fields["valued"] = Valued(tick_id=self.tick_id, as_of=self._as_of)
        return Portfolio.model_construct(**fields)
