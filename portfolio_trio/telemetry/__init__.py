"""What happens, counted: callers say what happened, and `exposition` tells Prometheus of it.

`Telemetry` does nothing, which is what a server without ``--metrics-address`` has;
`counting.CountedTelemetry` counts. The library that writes Prometheus' formats is loaded by `exposition`
alone, when somebody asks.

Imports no other room.
"""

from portfolio_trio.telemetry._telemetry import OFF, Readings, Telemetry

__all__ = ["OFF", "Readings", "Telemetry"]
