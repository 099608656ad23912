"""Drifts outside the band."""

from __future__ import annotations

from portfolio_trio.targets import Targets


def test_what_is_beyond_the_band_is_named_with_its_drift() -> None:
    targets = Targets(weights={"A": 2.0, "B": 1.0, "C": 1.0})
    assert targets.outside({"A": 50.0, "B": 25.0, "C": 25.0}) == {}
    # Within the band, without C, and with a name that has no target.
    assert targets.outside({"A": 55.0, "B": -20.0, "C": 25.0}) == {}
    assert targets.outside({"A": 50.0, "B": 50.0}) == {"B": 0.25, "C": -0.25}
    assert targets.outside({"A": 50.0, "B": 25.0, "D": 25.0}) == {"C": -0.25, "D": 0.25}
    assert targets.outside({}) == {"A": -0.5, "B": -0.25, "C": -0.25}


def test_a_wider_band_tolerates_more() -> None:
    assert Targets({"A": 1.0, "B": 1.0}, band=0.3).outside({"A": 80.0, "B": 20.0}) == {}
    assert Targets({"A": 1.0, "B": 1.0}, band=0.0).outside({"A": 1.0 + 1e-12, "B": 1.0}) == {}


def test_without_weights_nothing_is_outside() -> None:
    assert Targets(budgets={"A": 1.0}).outside({"B": 1.0}) == {}
