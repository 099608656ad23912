"""What is kept of a session's newest state says the same as the state."""

from __future__ import annotations

import pytest

from portfolio_trio.hub.kept_state import KeptState
from portfolio_trio.protocol.examples import MESSAGES
from portfolio_trio.protocol.messages import Portfolio

STATES = [message for message in MESSAGES if isinstance(message, Portfolio)]
STATES.append(
    STATES[0].model_copy(
        update={
            "id": 5,
            "stale": True,
            "stale_prices": {"AAPL": "2026-01-02"},
            "outside": {"AAPL": 0.1},
            "current_analysis": None,
        }
    )
)


@pytest.mark.parametrize("state", STATES)
def test_it_makes_the_same_frame_but_for_values_and_id(state: Portfolio) -> None:
    kept = KeptState(state)
    shown = state.model_copy(update={"id": None, "values": None})
    assert kept.message().to_json() == shown.to_json()
    assert (kept.version, kept.holdings, kept.tick_id) == (
        state.version,
        state.holdings,
        state.valued.tick_id,
    )


def test_its_message_does_not_change_it() -> None:
    kept = KeptState(STATES[0])
    before = kept.message().to_json()
    kept.message().holdings.clear()
    assert kept.message().to_json() == before
