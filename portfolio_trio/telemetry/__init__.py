"""Counting events: callers report them, and `exposition` formats the counts for Prometheus.

`Telemetry` does nothing and is used without ``--metrics-address``; `counting.CountedTelemetry` counts. Only
`exposition` loads the library that writes Prometheus' formats, at the first request.

Imports no other room.
"""

from portfolio_trio.telemetry._telemetry import OFF, Readings, Telemetry

__all__ = ["OFF", "Readings", "Telemetry"]
