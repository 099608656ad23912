"""The text of a result equals that of its model, byte for byte."""

from __future__ import annotations

import json
from typing import Any, Literal

from hypothesis import given
from hypothesis import strategies as st

from portfolio_trio.canonical import canonical
from portfolio_trio.metrics import BUILT_IN, compute, compute_text
from portfolio_trio.protocol.messages import AnalysisResult, Receipt
from portfolio_trio.protocol.results import RunTexts, common_text
from tests.metrics.support import LAW, Portfolio, portfolios

RECEIPT = Receipt(holdings={"AAPL": 1.5}, prices={"AAPL": 99.25}, last_bar="2026-11-20")


def common(**more: object) -> dict[str, Any]:
    return {
        "ticker": "BRK/B", "run_id": 7, "snapshot": "0f" * 32, "tick_id": 812,
        "as_of": "2026-11-22T09:30:00.125Z", "last_bar": None, "method": "2", "receipt": None,
    } | more  # fmt: skip


def texts_of(shared: dict[str, Any], *, stale: bool) -> RunTexts:
    own = ("ticker", "run_id", "receipt")
    text = common_text(**{name: value for name, value in shared.items() if name not in own}, stale=stale)
    return RunTexts(shared["ticker"], shared["run_id"], text, shared["receipt"])


@LAW
@given(
    portfolios(least=2, most=4),
    st.sampled_from([None, "2026-11-20"]),
    st.sampled_from([None, True]),
    st.sampled_from([None, RECEIPT]),
    st.none() | st.integers(-(2**53), 2**53) | st.text(max_size=8),
)
def test_records_and_frames_are_those_of_the_model(
    portfolio: Portfolio,
    last_bar: str | None,
    stale: Literal[True] | None,
    receipt: Receipt | None,
    request: str | int | None,
) -> None:
    shared = common(last_bar=last_bar, receipt=receipt)
    texts, inputs = texts_of(shared, stale=stale is True), portfolio.inputs("N0")
    for metric in BUILT_IN.values():
        text, result = compute_text(metric, inputs), compute(metric, inputs)
        ours = texts.result(metric.name, text.value, "2026-11-22T09:30:01.500Z", text.detail)
        model = AnalysisResult(
            **shared, metric=metric.name, value=result.value, timestamp="2026-11-22T09:30:01.500Z",
            stale=stale, detail=result.detail,
        )  # fmt: skip
        assert ours.to_record() == model.to_record()
        assert ours.to_record(receipt=False) == model.to_record(receipt=False)
        assert ours.echo(request).to_json() == model.echo(request).to_json()
        assert (ours.type, ours.run_id, ours.metric, ours.value) == (
            model.type, model.run_id, model.metric, model.value,
        )  # fmt: skip


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_number_is_read_back(number: float) -> None:
    value = canonical(number)
    result = texts_of(common(), stale=False).result("m", value, "t", None)
    assert json.loads(result.to_json())["value"] == value
    assert "detail" not in json.loads(result.to_record())
