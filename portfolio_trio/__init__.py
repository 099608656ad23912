"""Real-time stock-portfolio analysis over WebSockets, on structured concurrency."""

__version__ = "0.2.0"
