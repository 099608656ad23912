"""What a metric is, how one is made, and the one place that runs it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Self, TypeAlias

from pydantic import BaseModel, ConfigDict
from typing_extensions import override

from portfolio_trio.canonical import canonical
from portfolio_trio.metrics.errors import MetricError
from portfolio_trio.metrics.inputs import AnalysisInputs

_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")


class Detail(BaseModel):
    """Base of every metric's detail: typed, immutable, and no NaN or infinity gets in."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @classmethod
    def of(cls, inputs: AnalysisInputs, value: float) -> Self:
        """Compute the detail that stands beside a value; what cannot be computed is None.

        Raises:
            NotImplementedError: The metric returns its `Result` with the detail in it instead.
        """
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Result:
    """What a metric says: one finite number, and what stands beside it."""

    value: float
    detail: Detail | None = None


MetricFunction: TypeAlias = Callable[[AnalysisInputs], "Result | float"]


@dataclass(frozen=True, slots=True)
class Metric:
    """One number about a ticker within its portfolio.

    Attributes:
        name: What the wire calls it: lower-case letters, digits and underscores.
        function: From the inputs to the value, or to a `Result` where value and detail are best
            computed in one go. It raises `MetricError` where the value is not defined, and never
            returns NaN.
        detail: The model of its detail, which is its schema; None where it has none. Where the
            function returns the value alone, `Detail.of` computes the detail.
        heavy: Whether it takes longer than about a millisecond, so that it runs in a worker thread.

    Raises:
        ValueError: The name has other characters or more than 64.
        TypeError: The function cannot be called, or the detail is not a subclass of `Detail`.
    """

    name: str
    function: MetricFunction
    detail: type[Detail] | None = None
    heavy: bool = False

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"{self.name!r} is no metric name: lower-case letters, digits, underscores")
        if not callable(self.function):
            raise TypeError(f"metric {self.name}: its function cannot be called")
        if self.detail is not None and not issubclass(self.detail, Detail):
            raise TypeError(f"metric {self.name}: its detail must be a subclass of Detail")


def metric(
    name: str, *, detail: type[Detail] | None = None, heavy: bool = False
) -> Callable[[MetricFunction], Metric]:
    """Make a `Metric` from the function below; it joins a registry only where it is put in one."""

    def make(function: MetricFunction) -> Metric:
        return Metric(name, function, detail, heavy)

    return make


class MetricRegistry(Mapping[str, Metric]):
    """Metrics by name, in the order in which a run starts them; immutable.

    Raises:
        ValueError: Two metrics have the same name.
    """

    __slots__ = ("_metrics",)

    def __init__(self, *metrics: Metric) -> None:
        by_name: dict[str, Metric] = {}
        for each in metrics:
            if each.name in by_name:
                raise ValueError(f"there is a metric {each.name} already: give one of them another name")
            by_name[each.name] = each
        self._metrics = by_name

    def extended(self, *metrics: Metric) -> MetricRegistry:
        """A registry with these after the ones it has; ValueError where a name exists already."""
        return MetricRegistry(*self._metrics.values(), *metrics)

    @override
    def __getitem__(self, name: str) -> Metric:
        return self._metrics[name]

    @override
    def __iter__(self) -> Iterator[str]:
        return iter(self._metrics)

    @override
    def __len__(self) -> int:
        return len(self._metrics)


def compute(metric: Metric, inputs: AnalysisInputs, *, detail: bool = True) -> Result:
    """Run one metric and hold it to its promise; whatever comes back is fit for the wire.

    Its value, and every number in its detail, is canonical: see `portfolio_trio.canonical`.

    Without `detail` only the value is asked for, which costs a third.

    Raises:
        MetricError: With `metric` filled in. Code ``metric_failed`` where the function raised
            something else (which is the cause), returned no finite float, or not its own detail.
    """
    try:
        returned = metric.function(inputs)
        if isinstance(returned, Result):
            _check(metric, returned.value)
            result = returned
        else:
            _check(metric, returned)
            result = Result(
                returned, metric.detail.of(inputs, returned) if metric.detail and detail else None
            )
    except MetricError as error:
        error.metric = metric.name
        raise
    except Exception as error:  # a plug-in may raise anything at all
        raise _failed(metric, f"it raised {type(error).__name__}") from error
    if detail and type(result.detail) is not (metric.detail or type(None)):
        raise _failed(metric, f"it returned {type(result.detail).__name__} for its detail")
    if result.detail is not None:
        _make_exact(result.detail)
    return Result(canonical(result.value), result.detail)


def _make_exact(model: BaseModel) -> None:
    """Make every number in a detail canonical, in place, past the model's frozenness."""
    fields = model.__dict__
    for name, held in fields.items():
        if isinstance(held, float):
            fields[name] = canonical(held)
        elif isinstance(held, (BaseModel, list, tuple, dict)):
            fields[name] = _exact(held)


def _exact(value: object) -> object:
    """The same value, with every number in it canonical."""
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


def _check(metric: Metric, value: object) -> None:
    if not isinstance(value, float):
        raise _failed(metric, f"it returned {type(value).__name__}, not a float")
    if not isfinite(value):
        raise _failed(metric, "its value is not finite")


def _failed(metric: Metric, reason: str) -> MetricError:
    return MetricError("metric_failed", f"{metric.name}: {reason}", metric=metric.name)
