"""The definition of a metric, and the decorator that makes one."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Self, TypeAlias

from pydantic import BaseModel, ConfigDict
from typing_extensions import override

from portfolio_trio.metrics.inputs import AnalysisInputs

_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")


class Detail(BaseModel):
    """Base class of every metric's detail: typed, immutable, without NaN and infinity."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @classmethod
    def of(cls, inputs: AnalysisInputs, value: float) -> Self:
        """Compute the detail of a value; fields that cannot be computed are None.

        Raises:
            NotImplementedError: The metric returns a `Result` that includes the detail instead.
        """
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Result:
    """The result of a metric: one finite number, and its detail."""

    value: float
    detail: Detail | None = None


Field: TypeAlias = float | int | str | bool | None
FieldsFunction: TypeAlias = Callable[[AnalysisInputs, float], dict[str, Field]]
MetricFunction: TypeAlias = Callable[[AnalysisInputs], "Result | float"]


@dataclass(frozen=True, slots=True)
class Metric:
    """One number about a ticker within its portfolio.

    Attributes:
        name: Its name on the wire: lower-case letters, digits and underscores.
        function: Computes the value from the inputs, or a `Result` if value and detail are best computed
            together. It raises `MetricError` if the value is not defined, and never returns NaN.
        detail: The model of its detail, which is also its schema; None if it has none. If the function
            returns only the value, `Detail.of` computes the detail.
        fields: Computes its detail of a value as plain fields, as the built-in metrics do, because a model
            costs more than their arithmetic. They must be valid for the model of the detail.
        heavy: Whether it takes longer than about a millisecond, so that it runs in a worker thread.

    Raises:
        ValueError: The name has other characters or more than 64.
        TypeError: The function cannot be called, or the detail is not a subclass of `Detail`.
    """

    name: str
    function: MetricFunction
    detail: type[Detail] | None = None
    heavy: bool = False
    fields: FieldsFunction | None = None

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"{self.name!r} is not a metric name: lower-case letters, digits, underscores")
        if not callable(self.function):
            raise TypeError(f"metric {self.name}: its function cannot be called")
        if self.detail is not None and not issubclass(self.detail, Detail):
            raise TypeError(f"metric {self.name}: its detail must be a subclass of Detail")
        if self.fields is not None and self.detail is None:
            raise TypeError(f"metric {self.name}: fields of a detail need a model that describes them")


def metric(
    name: str,
    *,
    detail: type[Detail] | None = None,
    heavy: bool = False,
    fields: FieldsFunction | None = None,
) -> Callable[[MetricFunction], Metric]:
    """Make a `Metric` from the decorated function; this does not add it to a registry."""

    def make(function: MetricFunction) -> Metric:
        return Metric(name, function, detail, heavy, fields)

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
                raise ValueError(f"there already is a metric {each.name}: give one of them another name")
            by_name[each.name] = each
        self._metrics = by_name

    def extended(self, *metrics: Metric) -> MetricRegistry:
        """A registry with these appended; ValueError if a name already exists."""
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
