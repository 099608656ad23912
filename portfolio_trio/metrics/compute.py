"""The one place that runs a metric and checks its result."""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING, NamedTuple

from pydantic import BaseModel
from pydantic_core import to_json

from portfolio_trio.canonical import canonical
from portfolio_trio.metrics.errors import MetricError
from portfolio_trio.metrics.registry import Result

if TYPE_CHECKING:
    from portfolio_trio.metrics.inputs import AnalysisInputs
    from portfolio_trio.metrics.registry import Detail, Field, Metric


class ResultText(NamedTuple):
    """The result of a metric, in its wire form.

    Attributes:
        value: One finite number, canonical.
        detail: Its detail as JSON text; None if it has none.
    """

    value: float
    detail: str | None


def compute(metric: Metric, inputs: AnalysisInputs, *, detail: bool = True) -> Result:
    """Run one metric and check its result, which is then fit for the wire.

    Its value, and every number in its detail, is canonical: see `portfolio_trio.canonical`.

    Without `detail` only the value is computed, at a third of the cost.

    Raises:
        MetricError: With `metric` filled in. Code ``metric_failed`` if the function raised something else
            (which is the cause), did not return a finite float, or returned a detail of another type.
    """
    value, found = _run(metric, inputs, detail=detail)
    if isinstance(found, dict):
        found = metric.detail(**found) if metric.detail else None
    return Result(value, found)


def compute_text(metric: Metric, inputs: AnalysisInputs) -> ResultText:
    """As `compute`, for the wire: no model is made if the metric has `Metric.fields`.

    Raises:
        MetricError: As for `compute`.
    """
    value, found = _run(metric, inputs, detail=True)
    if isinstance(found, dict):
        if None in found.values():
            found = {name: field for name, field in found.items() if field is not None}
        return ResultText(value, to_json(found).decode())
    return ResultText(value, None if found is None else found.model_dump_json(exclude_none=True))


def _run(
    metric: Metric, inputs: AnalysisInputs, *, detail: bool
) -> tuple[float, Detail | dict[str, Field] | None]:
    """The value and its detail, with every number canonical."""
    try:
        returned = metric.function(inputs)
        value = _finite(metric, returned.value if isinstance(returned, Result) else returned)
        if detail and metric.fields is not None:
            return canonical(value), {
                name: canonical(field) if type(field) is float else field
                for name, field in metric.fields(inputs, value).items()
            }
        found = returned.detail if isinstance(returned, Result) else None
        if found is None and not isinstance(returned, Result) and metric.detail and detail:
            found = metric.detail.of(inputs, value)
    except MetricError as error:
        error.metric = metric.name
        raise
    except Exception as error:  # a plug-in may raise anything
        raise _failed(metric, f"it raised {type(error).__name__}") from error
    if detail and type(found) is not (metric.detail or type(None)):
        raise _failed(metric, f"it returned {type(found).__name__} for its detail")
    if found is not None:
        _make_exact(found)
    return canonical(value), found


def _make_exact(model: BaseModel) -> None:
    """Make every number in a detail canonical, in place, although the model is frozen."""
    fields = model.__dict__
    for name, held in fields.items():
        if isinstance(held, float):
            fields[name] = canonical(held)
        elif isinstance(held, (BaseModel, list, tuple, dict)):
            fields[name] = _exact(held)


def _exact(value: object) -> object:
    """The same value, with every number in it made canonical."""
    if isinstance(value, float):
        return canonical(value)
    if isinstance(value, BaseModel):
        _make_exact(value)
    elif isinstance(value, dict):
        return {_exact(key): _exact(each) for key, each in value.items()}
    elif isinstance(value, tuple) and hasattr(value, "_make"):
        return value._make(map(_exact, value))
    elif isinstance(value, (list, tuple)):
        return type(value)(map(_exact, value))
    return value


def _finite(metric: Metric, value: object) -> float:
    if not isinstance(value, float):
        raise _failed(metric, f"it returned {type(value).__name__}, not a float")
    if not isfinite(value):
        raise _failed(metric, "its value is not finite")
    return value


def _failed(metric: Metric, reason: str) -> MetricError:
    return MetricError("metric_failed", f"{metric.name}: {reason}", metric=metric.name)
