"""Five numbers about a stock within its portfolio: pure arithmetic on one snapshot; no I/O, no clock.

Imports only `canonical` and `targets`.
"""

from __future__ import annotations

from portfolio_trio.metrics.bars import Bars
from portfolio_trio.metrics.builtin import BUILT_IN, ENTRY_POINT_GROUP, PluginError, installed_metrics
from portfolio_trio.metrics.compute import ResultText, compute, compute_text
from portfolio_trio.metrics.errors import AnalysisError, AnalysisErrorCode, MetricError
from portfolio_trio.metrics.inputs import AnalysisInputs
from portfolio_trio.metrics.receipt import Comparison, Receipt, Replay, recompute
from portfolio_trio.metrics.registry import Detail, Metric, MetricRegistry, Result, metric
from portfolio_trio.metrics.returns import ReturnsCache
from portfolio_trio.metrics.snapshot import METHOD_VERSION
from portfolio_trio.targets import Targets

__all__ = [
    "BUILT_IN",
    "ENTRY_POINT_GROUP",
    "METHOD_VERSION",
    "AnalysisError",
    "AnalysisErrorCode",
    "AnalysisInputs",
    "Bars",
    "Comparison",
    "Detail",
    "Metric",
    "MetricError",
    "MetricRegistry",
    "PluginError",
    "Receipt",
    "Replay",
    "Result",
    "ResultText",
    "ReturnsCache",
    "Targets",
    "compute",
    "compute_text",
    "installed_metrics",
    "metric",
    "recompute",
]
