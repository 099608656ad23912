"""A typed client of a session, on Trio.

::

    async with connect("ws://127.0.0.1:8000/ws/my-session") as portfolio:
        print(portfolio.state.total_value)
        async with portfolio.analyze("AAPL") as results:
            async for outcome in results:
                print(outcome.metric, outcome)

Imports only protocol and the ground floor, nothing of the server.
"""

from __future__ import annotations

from portfolio_trio.backoff import Backoff
from portfolio_trio.client._analysis import Analysis, Outcome
from portfolio_trio.client._client import PortfolioClient, connect
from portfolio_trio.client._errors import (
    ClientError,
    ConnectFailed,
    Disconnected,
    Ending,
    RequestFailed,
    RequestTimedOut,
    RunCancelled,
    RunFailed,
)
from portfolio_trio.client._events import ConnectionLost, Event, Missed
from portfolio_trio.client._following import FollowedRun, Following
from portfolio_trio.client._link import Limits
from portfolio_trio.protocol.events import ProtocolError, ReceivedDetail, ReceivedResult, Unknown

__all__ = [
    "Analysis",
    "Backoff",
    "ClientError",
    "ConnectFailed",
    "ConnectionLost",
    "Disconnected",
    "Ending",
    "Event",
    "FollowedRun",
    "Following",
    "Limits",
    "Missed",
    "Outcome",
    "PortfolioClient",
    "ProtocolError",
    "ReceivedDetail",
    "ReceivedResult",
    "RequestFailed",
    "RequestTimedOut",
    "RunCancelled",
    "RunFailed",
    "Unknown",
    "connect",
]
