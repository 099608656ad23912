"""The valid requests of clients, and the errors for all others."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from portfolio_trio.canonical import canonical, canonical_shares
from portfolio_trio.protocol import requests
from portfolio_trio.protocol.codes import ERRORS, ErrorCode
from portfolio_trio.protocol.fields import MAX_HOLDINGS
from portfolio_trio.protocol.messages import AnalysisResult, MetricFailure
from portfolio_trio.protocol.requests import Analyze, RequestError, SetHoldings, Trade, parse_request
from tests.support.tickers import NO_TICKERS, TICKERS

CASES = Path(__file__).parents[1] / "cases"

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)


def refusal(frame: str | bytes) -> tuple[str, str]:
    with pytest.raises(RequestError) as caught:
        parse_request(frame)
    return caught.value.answer.code, caught.value.answer.detail


@given(TICKERS)
def test_tickers_are_upper_cased(ticker: str) -> None:
    request = parse_request(json.dumps({"action": "analyze", "ticker": ticker.lower()}))
    assert isinstance(request, Analyze)
    assert request.ticker == ticker


@pytest.mark.parametrize("ticker", NO_TICKERS)
def test_what_is_no_ticker_is_refused(ticker: str) -> None:
    code, detail = refusal(json.dumps({"action": "analyze", "ticker": ticker}))
    assert code == "invalid_message"
    assert "is not a ticker" in detail


@pytest.mark.parametrize("ticker", [None, 5, True, ["AAPL"], {}])
def test_a_ticker_is_text(ticker: object) -> None:
    assert refusal(json.dumps({"action": "analyze", "ticker": ticker}))[0] == "invalid_message"


@given(st.dictionaries(TICKERS, st.floats(-1e15, 1e15), max_size=20))
def test_finite_holdings_pass_as_they_are_kept(holdings: dict[str, float]) -> None:
    frame = json.dumps({"action": "set_holdings", "holdings": holdings})
    kept = {ticker: canonical_shares(shares) for ticker, shares in holdings.items()}
    lost = [ticker for ticker, shares in holdings.items() if shares and not kept[ticker]]
    if lost:
        assert refusal(frame)[0] == "invalid_message"
    else:
        request = parse_request(frame)
        assert isinstance(request, SetHoldings)
        assert request.holdings == kept


def numbers_in(value: object) -> list[float]:
    """Every number in a request, however deep."""
    if isinstance(value, dict):
        return [number for each in value.values() for number in numbers_in(each)]
    return [value] if isinstance(value, float) else []


@given(st.floats(1e-9, 1.0), st.sampled_from([1.0, 1e3, 1e9]))
def test_every_number_is_read_as_it_is_recorded(share: float, scale: float) -> None:
    """So that an answer is the same from its request and from its receipt.

    Weights and budgets are on any scale; they are made canonical as shares of 1 where they are stored.
    """
    table, size = {"AAPL": share * scale, "MSFT": scale / 3.0}, share * scale
    for fields in (
        {"action": "set_holdings", "holdings": table},
        {"action": "trade", "ticker": "AAPL", "shares": size},
        {"action": "what_if", "trades": table},
        {"action": "plan", "to": "weights", "cash": -size},
        {"action": "set_targets", "band": share},
    ):
        read = numbers_in(dict(parse_request(json.dumps(fields))))
        assert read
        assert read == [canonical(number) for number in read]


def test_shares_that_round_to_nothing_are_refused_by_name() -> None:
    said = "4e-10 shares{} round to zero: a number of shares has at most 9 decimals"
    assert refusal('{"action":"set_holdings","holdings":{"AAPL":1,"MSFT":4e-10}}') == (
        "invalid_message",
        "Invalid message: holdings.MSFT: " + said.format(""),
    )
    assert refusal('{"action":"trade","ticker":"msft","shares":4e-10}') == (
        "invalid_message",
        "Invalid message: shares: " + said.format(" of MSFT"),
    )


@pytest.mark.parametrize("shares", ["0", "0.0", "-0.0"])
def test_a_trade_of_nothing_is_refused(shares: str) -> None:
    said = ("invalid_message", "Invalid message: shares: a trade needs a number of shares other than 0")
    assert refusal(f'{{"action":"trade","ticker":"AAPL","shares":{shares}}}') == said
    # As lines of what is held, or of what is asked, they are none.
    parse_request(f'{{"action":"set_holdings","holdings":{{"AAPL":{shares}}}}}')
    parse_request(f'{{"action":"what_if","trades":{{"AAPL":{shares}}}}}')


@pytest.mark.parametrize(
    "shares", ["NaN", "Infinity", "-Infinity", "1e999", "1e16", '"5"', "true", "null", "[1]"]
)
def test_shares_are_finite_numbers(shares: str) -> None:
    assert refusal(f'{{"action":"set_holdings","holdings":{{"AAPL":{shares}}}}}')[0] == "invalid_message"
    assert refusal(f'{{"action":"trade","ticker":"AAPL","shares":{shares}}}')[0] == "invalid_message"


def test_holdings_have_a_limit_of_their_own() -> None:
    def frame(count: int) -> str:
        return json.dumps({"action": "set_holdings", "holdings": {f"T{n}": 1 for n in range(count)}})

    assert isinstance(parse_request(frame(MAX_HOLDINGS)), SetHoldings)
    assert refusal(frame(MAX_HOLDINGS + 1))[0] == "too_many_holdings"


def test_the_id_of_a_wrong_request_is_echoed() -> None:
    for frame in ('{"action":"analyze","id":"a"}', '{"action":"delete","id":"a"}', '{"id":"a"}'):
        with pytest.raises(RequestError) as caught:
            parse_request(frame)
        assert caught.value.answer.id == "a"


@pytest.mark.parametrize("request_id", [1.5, True, [1], {}, "x" * 129, 2**60])
def test_an_id_that_is_none_is_refused_and_not_echoed(request_id: object) -> None:
    with pytest.raises(RequestError) as caught:
        parse_request(json.dumps({"action": "cancel", "id": request_id}))
    assert caught.value.answer.id is None


@given(st.text() | st.binary())
def test_any_frame_is_a_request_or_has_a_named_answer(frame: str | bytes) -> None:
    code, detail = refusal(frame)
    assert code in {"invalid_message", "unknown_action"}
    assert detail.startswith(("Invalid message: ", "Unknown action: "))


@given(st.dictionaries(st.sampled_from(["action", "ticker", "holdings", "shares", "id", "limit"]), ANYTHING))
def test_any_json_is_a_request_or_has_a_named_answer(document: dict[str, Any]) -> None:
    for action in ("analyze", "cancel", "set_holdings", "trade", "get_results"):
        try:
            parse_request(json.dumps({**document, "action": action}))
        except RequestError as error:
            text = error.answer.to_json()
            assert len(text) < 1000
            assert json.loads(text)["detail"].startswith(("Invalid message: ", "Too many holdings: "))


def test_every_code_has_a_meaning() -> None:
    assert set(ERRORS) == set(ErrorCode)


def test_a_metric_failure_is_an_error_for_clients_that_know_no_other() -> None:
    failure = MetricFailure(ticker="A", metric="mine", code="my_own_code", detail="why", run_id=4)
    error = json.loads(failure.as_error().to_json())
    assert error == {
        "type": "error",
        "code": "my_own_code",
        "detail": "why",
        "retryable": False,
        "ticker": "A",
        "metric": "mine",
        "run_id": 4,
    }


def test_no_infinity_can_be_made_of_finite_json() -> None:
    assert math.isinf(float("1e999"))
    assert refusal('{"action":"trade","ticker":"A","shares":1e999}')[0] == "invalid_message"


def test_a_result_is_serialised_once_and_never_as_another() -> None:
    result = AnalysisResult(
        ticker="A",
        metric="m",
        value=1.5,
        timestamp="t",
        run_id=1,
        snapshot="s",
        tick_id=2,
        as_of="a",
        method="1",
    )
    record = json.loads(result.to_record())
    assert json.loads(result.to_json()) == {"type": "analysis_result", **record}
    for request_id in (7, 'with "quotes" and \u00e9'):
        echoed = json.loads(result.echo(request_id).to_json())
        assert echoed == {"id": request_id, "type": "analysis_result", **record}
    other = result.model_copy(update={"value": 2.5})
    assert json.loads(other.to_json())["value"] == 2.5
    assert json.loads(other.to_record())["value"] == 2.5
    assert json.loads(result.to_json())["value"] == 1.5


@pytest.mark.parametrize(
    ("frame", "name"),
    [
        ({"action": "analyze", "ticker": "AAPL", "reciept": True}, "reciept"),
        ({"action": "analyze", "ticker": "AAPL", "version": 1}, "version"),
        ({"action": "get_portfolio", "version": 3}, "version"),
        # A misspelt field is missing, too: its name says more.
        ({"action": "trade", "ticker": "AAPL", "share": 1}, "share"),
        ({"action": "cancel", "x" * 500: 1}, "x" * 64 + "..."),
    ],
)
def test_an_unknown_field_is_refused_by_name(frame: dict[str, Any], name: str) -> None:
    assert refusal(json.dumps(frame)) == ("invalid_message", f'Invalid message: unknown field "{name}"')
    with pytest.raises(RequestError) as caught:
        parse_request(json.dumps({"id": 7, **frame}))
    assert caught.value.answer.id == 7


@pytest.mark.parametrize(
    ("frame", "name"),
    [
        ((CASES / "duplicate_key_in_holdings.json").read_text(encoding="utf-8"), "AAPL"),
        ('{"action":"set_holdings","holdings":{"A\\u0041PL":1,"MSFT":2,"AAPL":3}}', "AAPL"),
        ('{"action":"set_holdings","holdings":{"A":1},"holdings":{"B":1}}', "holdings"),
        ('{"action":"trade","ticker":"AAPL","ticker":"MSFT","shares":1}', "ticker"),
        ('{"action":"cancel","action":"get_portfolio"}', "action"),
        ('{"action":"analyze","ticker":"AAPL","id":"a:b","id":"a:b"}', "id"),
    ],
)
def test_a_name_that_stands_twice_is_refused_by_name(frame: str, name: str) -> None:
    assert refusal(frame) == ("invalid_message", f'Invalid message: "{name}" occurs twice')


@given(st.dictionaries(TICKERS, st.integers(-9, 9), max_size=5), st.text(max_size=20), st.integers(0, 5))
def test_only_what_stands_twice_is_refused(holdings: dict[str, int], name: str, at: int) -> None:
    lines = [f"{json.dumps(ticker)}: {shares!r}" for ticker, shares in holdings.items()]
    head = f'"action": "set_holdings", "id": {json.dumps(name)}'
    parse_request(f'{{{head}, "holdings": {{{",".join(lines)}}}}}')
    if lines:
        lines.insert(at % (len(lines) + 1), lines[at % len(lines)])
        assert "occurs twice" in refusal(f'{{{head}, "holdings": {{{",".join(lines)}}}}}')[1]


@pytest.mark.parametrize("value", ['"yes"', '"true"', "1", "0", "null"])
def test_a_receipt_is_wanted_or_not(value: str) -> None:
    frame = f'{{"action":"analyze","ticker":"AAPL","receipt":{value}}}'
    assert refusal(frame) == ("invalid_message", "Invalid message: receipt: Input should be a valid boolean")


def test_a_trade_may_state_its_version() -> None:
    request = parse_request('{"action":"trade","ticker":"AAPL","shares":1,"version":3}')
    assert isinstance(request, Trade)
    assert request.version == 3
    for version in ("1.5", "-1", "true", "1e300", '"1"', str(2**53)):
        frame = f'{{"action":"trade","ticker":"AAPL","shares":1,"version":{version}}}'
        assert refusal(frame)[0] == "invalid_message"


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        ({"action": "set_holdings", "holdings": {f"A{n}": "x" for n in range(15_000)}}, "too_many_holdings"),
        ({"action": "cancel", **{f"a{n}": 1 for n in range(20_000)}}, "invalid_message"),
        (
            {"action": "set_holdings", "holdings": {"A": 1}, **{f"a{n}": "x" for n in range(20_000)}},
            "invalid_message",
        ),
    ],
)
def test_a_flood_of_what_is_wrong_is_not_gathered(
    frame: dict[str, Any], code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of 25,000 bad values had an error made for it, of which one is told."""
    seen: list[int] = []
    explain = requests._explain

    def counted(text: str, error: ValidationError) -> Any:
        seen.append(error.error_count())
        return explain(text, error)

    monkeypatch.setattr(requests, "_explain", counted)
    with pytest.raises(RequestError) as refused:
        parse_request(json.dumps({**frame, "id": 7}))
    assert (refused.value.answer.code, refused.value.answer.id) == (code, 7)
    assert all(count <= 1_000 for count in seen)


def test_a_flood_of_one_name_is_not_gathered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(requests, "_explain")
    lines = ",".join(['"AAPL":"x"'] * 20_000)
    with pytest.raises(RequestError, match='"AAPL" occurs twice'):
        parse_request('{"action":"set_holdings","holdings":{' + lines + "}}")


def test_the_largest_request_that_is_allowed_is_understood() -> None:
    holdings = {f"A{n}": n + 1 for n in range(500)}
    frame = json.dumps({"action": "set_holdings", "holdings": holdings, "version": 1, "id": "::" * 60})
    assert len(parse_request(frame).holdings) == 500  # type: ignore[union-attr]
