"""Redis from Trio and from asyncio: one multiplexed connection per node that pipelines automatically.

Imports only `nurseries`: it knows nothing about portfolios.
"""

from portfolio_trio.redis._client import RedisClient
from portfolio_trio.redis._embedded import EmbeddedServer
from portfolio_trio.redis._facts import (
    NO_EVICTION,
    ClusterFacts,
    JsonModule,
    ServerFacts,
    cluster_facts,
    server_facts,
)
from portfolio_trio.redis._open import open_redis
from portfolio_trio.redis._pubsub import Message, Missed, Subscription
from portfolio_trio.redis._script import Script
from portfolio_trio.redis._statistics import ClientStatistics, NodeStatistics, State

__all__ = [
    "NO_EVICTION",
    "ClientStatistics",
    "ClusterFacts",
    "EmbeddedServer",
    "JsonModule",
    "Message",
    "Missed",
    "NodeStatistics",
    "RedisClient",
    "Script",
    "ServerFacts",
    "State",
    "Subscription",
    "cluster_facts",
    "open_redis",
    "server_facts",
]
