"""Custom metrics: made by decorator, checked, found by entry point."""

from __future__ import annotations

import json
import sys
from math import nan
from typing import TYPE_CHECKING, Self

import numpy as np
import pytest
from hypothesis import given
from pydantic import BaseModel, ValidationError
from typing_extensions import override

from portfolio_trio.canonical import canonical
from portfolio_trio.metrics import (
    BUILT_IN,
    AnalysisInputs,
    Detail,
    Metric,
    MetricError,
    MetricRegistry,
    PluginError,
    Result,
    compute,
    compute_text,
    installed_metrics,
    metric,
)
from tests.metrics.support import LAW, Portfolio, make_portfolio, portfolios

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class Extra(Detail):
    note: str
    number: float

    @override
    @classmethod
    def of(cls, inputs: AnalysisInputs, value: float) -> Self:
        return cls(note=inputs.ticker, number=value)


class Bare(Detail):
    number: float


@pytest.fixture
def inputs() -> AnalysisInputs:
    return make_portfolio({"A": 1.0, "B": 2.0}).inputs("A")


def test_the_five_come_in_their_order() -> None:
    assert tuple(BUILT_IN) == (
        "portfolio_risk",
        "concentration",
        "correlation",
        "momentum",
        "allocation_score",
    )
    for name, each in BUILT_IN.items():
        assert each.name == name
        assert each.detail is not None
        assert not each.heavy


def test_details_have_a_schema_without_surprises() -> None:
    for each in BUILT_IN.values():
        assert each.detail is not None
        schema = each.detail.model_json_schema()
        assert schema["additionalProperties"] is False
        assert set(schema["required"]) == set(schema["properties"])


def test_a_function_becomes_a_metric(inputs: AnalysisInputs) -> None:
    @metric("net_weight", detail=Extra, heavy=True)
    def net_weight(inputs: AnalysisInputs) -> float:
        return float(inputs.weights.sum())

    assert (net_weight.name, net_weight.detail, net_weight.heavy) == ("net_weight", Extra, True)
    assert compute(net_weight, inputs) == Result(1.0, Extra(note="A", number=1.0))
    assert compute(net_weight, inputs, detail=False) == Result(1.0)
    assert tuple(BUILT_IN.extended(net_weight))[-1] == "net_weight"
    assert "net_weight" not in BUILT_IN


def test_a_metric_may_return_value_and_detail_together(inputs: AnalysisInputs) -> None:
    together = Metric("together", lambda _: Result(0.5, Bare(number=2.0)), Bare)
    assert compute(together, inputs) == Result(0.5, Bare(number=2.0))
    plain = Metric("plain", lambda _: 0.5)
    assert compute(plain, inputs) == Result(0.5)


@pytest.mark.parametrize(
    ("returned", "reason"),
    [
        (nan, "not finite"),
        (float("inf"), "not finite"),
        (Result(-float("inf"), Bare(number=1.0)), "not finite"),
        (None, "NoneType"),
        (1, "int"),
        (True, "bool"),
        ("1.0", "str"),
        (Result(1.0), "NoneType for its detail"),
        (Result(1.0, Extra(note="", number=1.0)), "Extra for its detail"),
        (1.0, "NotImplementedError"),
    ],
)
def test_a_broken_promise_never_reaches_the_wire(
    inputs: AnalysisInputs, returned: float | Result, reason: str
) -> None:
    with pytest.raises(MetricError, match=reason) as caught:
        compute(Metric("broken", lambda _: returned, Bare), inputs)
    assert (caught.value.metric, caught.value.code) == ("broken", "metric_failed")


class Inner(BaseModel):
    beta: float


class Many(Detail):
    number: float
    none: float | None
    count: int
    pairs: tuple[tuple[str, float], ...]
    curve: list[float]
    by_name: dict[str, float]
    inner: Inner


def test_every_number_that_comes_back_is_canonical(inputs: AnalysisInputs) -> None:
    x, kept = 1 / 3, 0.333333333333333
    detail = Many(
        number=x, none=None, count=3, pairs=(("A", x),), curve=[x, 1.0], by_name={"A": x}, inner=Inner(beta=x)
    )
    result = compute(Metric("many", lambda _: Result(np.float64(2 / 3), detail), Many), inputs)
    assert result.value == 0.666666666666667
    assert result.detail is not None
    assert result.detail.model_dump() == {
        "number": kept,
        "none": None,
        "count": 3,
        "pairs": (("A", kept),),
        "curve": [kept, 1.0],
        "by_name": {"A": kept},
        "inner": {"beta": kept},
    }


def test_the_five_and_their_details_are_canonical(inputs: AnalysisInputs) -> None:
    for each in BUILT_IN.values():
        result = compute(each, inputs)
        assert result.detail is not None
        numbers = [result.value, *(n for n in result.detail.model_dump().values() if isinstance(n, float))]
        assert numbers == [canonical(number) for number in numbers]
        assert compute(each, inputs, detail=False).value == result.value


@LAW
@given(portfolios())
def test_the_fields_of_the_five_are_what_their_models_take(portfolio: Portfolio) -> None:
    inputs = portfolio.inputs("N0")
    for each in BUILT_IN.values():
        try:
            text = compute_text(each, inputs)
        except MetricError as error:
            with pytest.raises(MetricError, match=error.code):
                compute(each, inputs)
            continue
        result = compute(each, inputs)
        assert each.detail is not None
        assert result.value == text.value
        assert text.detail is not None
        assert result.detail is not None
        # Fields without a value are left out, in the same order.
        assert json.loads(text.detail, object_pairs_hook=list) == [
            (name, value) for name, value in result.detail if value is not None
        ]
        assert each.detail(**dict(result.detail)) == result.detail


def test_the_text_of_a_metric_of_ones_own_is_that_of_its_model(inputs: AnalysisInputs) -> None:
    @metric("own", detail=Extra)
    def own(_inputs: AnalysisInputs) -> float:
        return 1 / 3

    assert compute_text(own, inputs) == (0.333333333333333, '{"note":"A","number":0.333333333333333}')
    assert compute_text(Metric("plain", lambda _: 0.5), inputs) == (0.5, None)


@pytest.mark.parametrize("number", [nan, float("inf")])
def test_fields_hold_no_nan(inputs: AnalysisInputs, number: float) -> None:
    broken = Metric("broken", lambda _: 1.0, Bare, fields=lambda _inputs, _value: {"number": number})
    with pytest.raises(MetricError, match="ValueError") as caught:
        compute_text(broken, inputs)
    assert caught.value.code == "metric_failed"


def test_fields_need_a_model_that_describes_them() -> None:
    with pytest.raises(TypeError, match="model"):
        Metric("a", lambda _: 1.0, fields=lambda _inputs, _value: {})


def test_what_a_metric_raises_is_the_cause(inputs: AnalysisInputs) -> None:
    @metric("broken")
    def broken(inputs: AnalysisInputs) -> float:
        return {"A": 1.0}[inputs.ticker + "?"]

    with pytest.raises(MetricError, match="KeyError") as caught:
        compute(broken, inputs)
    assert isinstance(caught.value.__cause__, KeyError)


def test_a_metric_may_refuse_with_a_code_of_its_own(inputs: AnalysisInputs) -> None:
    @metric("picky")
    def picky(inputs: AnalysisInputs) -> float:
        raise MetricError("too_many", "I only like one", inputs.tickers)

    with pytest.raises(MetricError) as caught:
        compute(picky, inputs)
    assert (caught.value.metric, caught.value.code) == ("picky", "too_many")
    assert caught.value.tickers == ("A", "B")


def test_a_detail_holds_no_nan(inputs: AnalysisInputs) -> None:
    with pytest.raises(ValidationError):
        Bare(number=nan)
    with pytest.raises(MetricError, match="ValidationError"):
        compute(Metric("broken", lambda _: Result(1.0, Bare(number=nan)), Bare), inputs)


@pytest.mark.parametrize("name", ["", "Risk", "two words", "9lives", "a" * 65, "a-b"])
def test_names_are_words_of_the_wire(name: str) -> None:
    with pytest.raises(ValueError, match="metric name"):
        Metric(name, lambda _: 1.0)


def test_parts_of_the_wrong_kind_are_refused() -> None:
    with pytest.raises(TypeError, match="called"):
        Metric("a", 1.0)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="Detail"):
        Metric("a", lambda _: 1.0, dict)  # type: ignore[arg-type]


def test_two_metrics_of_one_name_are_refused() -> None:
    one = Metric("a", lambda _: 1.0)
    with pytest.raises(ValueError, match="already is a metric a"):
        MetricRegistry(one, one)
    with pytest.raises(ValueError, match="concentration"):
        BUILT_IN.extended(Metric("concentration", lambda _: 1.0))


PLUGIN = """
from portfolio_trio.metrics import metric

@metric("hedge_cost")
def hedge_cost(inputs):
    return 0.25

@metric("momentum")
def impostor(inputs):
    return 0.0

not_a_metric = 5
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Put a distribution with one entry point where Python finds it."""

    def write(line: str) -> None:
        (tmp_path / "hedging_plugin.py").write_text(PLUGIN)
        info = tmp_path / "hedging-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: hedging\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[portfolio_trio.metrics]\n{line}\n")
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, "hedging_plugin", raising=False)

    return write


def test_an_installed_metric_follows_the_five(install: Callable[[str], None], inputs: AnalysisInputs) -> None:
    install("hedge = hedging_plugin:hedge_cost")
    registry = installed_metrics()
    assert tuple(registry) == (*BUILT_IN, "hedge_cost")
    assert compute(registry["hedge_cost"], inputs).value == 0.25


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("bad = hedging_plugin:not_a_metric", "not a Metric"),
        ("bad = hedging_plugin:missing", "AttributeError"),
        ("bad = no_such_module_here:hedge_cost", "ModuleNotFoundError"),
        ("bad = hedging_plugin:impostor", "there already is a metric momentum"),
    ],
)
def test_a_bad_installed_metric_is_named_with_its_package(
    install: Callable[[str], None], line: str, reason: str
) -> None:
    install(line)
    with pytest.raises(PluginError, match=reason) as caught:
        installed_metrics()
    assert "'bad'" in str(caught.value)
    assert "of hedging" in str(caught.value)
