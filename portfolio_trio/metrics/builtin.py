"""The five metrics of this package, in the order in which a run starts them, and installed plug-ins."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import TYPE_CHECKING

from portfolio_trio.metrics.allocation_score import allocation_score
from portfolio_trio.metrics.concentration import concentration
from portfolio_trio.metrics.correlation import correlation
from portfolio_trio.metrics.momentum import momentum
from portfolio_trio.metrics.portfolio_risk import portfolio_risk
from portfolio_trio.metrics.registry import Metric, MetricRegistry

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

ENTRY_POINT_GROUP = "portfolio_trio.metrics"

BUILT_IN = MetricRegistry(portfolio_risk, concentration, correlation, momentum, allocation_score)


class PluginError(Exception):
    """An installed metric cannot be used; the message names its package and what to do."""


def installed_metrics() -> MetricRegistry:
    """The five built-in metrics, then every metric of the entry-point group ``portfolio_trio.metrics``.

    An entry point refers to a `Metric`. Plug-ins are ordered by entry-point name, so that every process has
    the same order.

    Raises:
        PluginError: One cannot be imported, is not a `Metric`, or has an existing name.
    """
    registry = BUILT_IN
    for point in sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda each: (each.name, each.value)):
        try:
            registry = registry.extended(_load(point))
        except ValueError as error:
            raise PluginError(f"{_origin(point)}: {error}") from error
    return registry


def _load(point: EntryPoint) -> Metric:
    try:
        loaded: object = point.load()
    except Exception as error:  # a plug-in's import may raise anything
        raise PluginError(
            f"{_origin(point)} cannot be loaded ({error!r}): repair or uninstall its package"
        ) from error
    if not isinstance(loaded, Metric):
        raise PluginError(f"{_origin(point)} is {loaded!r}, not a Metric: make it one with @metric(name)")
    return loaded


def _origin(point: EntryPoint) -> str:
    package = point.dist.name if point.dist else "an unknown package"
    return f"metric plug-in {point.name!r} ({point.value}) of {package}"
