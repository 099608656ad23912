"""Redis from Trio and from asyncio: one multiplexed connection per node that pipelines by itself."""

from portfolio_trio.redis._client import RedisClient
from portfolio_trio.redis._embedded import EmbeddedServer
from portfolio_trio.redis._open import open_redis
from portfolio_trio.redis._pubsub import Message, Missed, Subscription
from portfolio_trio.redis._script import Script
from portfolio_trio.redis._statistics import ClientStatistics, NodeStatistics, State

__all__ = [
    "ClientStatistics",
    "EmbeddedServer",
    "Message",
    "Missed",
    "NodeStatistics",
    "RedisClient",
    "Script",
    "State",
    "Subscription",
    "open_redis",
]
