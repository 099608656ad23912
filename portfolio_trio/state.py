"""The state of a session as the message that clients get."""

from __future__ import annotations

from typing import TYPE_CHECKING

from portfolio_trio.protocol.messages import Portfolio, Running, Valued

if TYPE_CHECKING:
    from portfolio_trio import store


def portfolio_message(stored: store.Portfolio) -> Portfolio:
    """The ``portfolio`` message for what the store holds."""
    current = stored.current_analysis
    return Portfolio(
        session_id=stored.session_id,
        holdings=dict(stored.holdings),
        version=stored.version,
        total_value=stored.total_value,
        valued=Valued(tick_id=stored.valued.tick_id, as_of=stored.valued.as_of),
        current_analysis=current and Running.model_validate(current, from_attributes=True),
    )
