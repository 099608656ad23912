"""The figures of the worked example in docs/decisions.md are those computed from the examples' closes."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from portfolio_trio.market import open_price_source
from portfolio_trio.metrics import ReturnsCache
from portfolio_trio.protocol.exact import exact_json
from portfolio_trio.protocol.requests import AskWhatIf, GetHistory, GetRisk, MakePlan
from portfolio_trio.session.decisions import Question, Seen, prepare
from portfolio_trio.targets import Targets
from tests.docs.pages import ROOT

PAGE = (ROOT / "docs" / "decisions.md").read_text()
HOLDINGS = {"AAPL": 20.0, "JPM": 30.0, "XOM": 40.0}
QUESTIONS: dict[str, Question] = {
    "risk": GetRisk(action="get_risk"),
    "what_if": AskWhatIf(action="what_if", trades={"AAPL": -10}),
    "plan to weights": MakePlan(action="plan", to="weights", whole_shares=True),
    "plan to budgets": MakePlan(action="plan", to="budgets"),
    "history": GetHistory(action="get_history"),
}


async def answers() -> dict[str, dict[str, Any]]:
    bars = await open_price_source(f"csv:{ROOT}/examples/data/closes.csv").load()
    closes = dict(zip(bars.tickers, bars.closes[-1].tolist(), strict=True))
    seen = Seen(
        holdings=HOLDINGS,
        prices={name: closes[name] for name in HOLDINGS},
        targets=Targets(weights=dict.fromkeys(HOLDINGS, 1.0)),
        cache=ReturnsCache(bars),
        version=1,
        tick_id=1,
        as_of="2026-01-01T00:00:00.000Z",
    )
    return {
        name: json.loads(exact_json(prepare(question, seen).compute()))
        for name, question in QUESTIONS.items()
    }


def look_up(answer: Any, path: str) -> Any:
    for part in re.findall(r"\w+", path):
        if isinstance(answer, list) and not part.isdigit():
            answer = next(each for each in answer if each["ticker"] == part)
        else:
            answer = answer[int(part) if part.isdigit() else part]
    return answer


@pytest.mark.trio
async def test_every_figure_of_the_worked_example_is_computed() -> None:
    found = await answers()
    rows = re.findall(r"^\| (\w[\w ]*) \| `([\w.]+)` \| (-?[\d.,]+%?) \|", PAGE, re.MULTILINE)
    assert {name for name, _, _ in rows} == set(QUESTIONS)
    for name, path, figure in rows:
        value = float(look_up(found[name], path))
        decimals = len(figure.rstrip("%").partition(".")[2])
        shown = f"{value:,.{decimals}%}" if figure.endswith("%") else f"{value:,.{decimals}f}"
        assert shown == figure, (name, path)
