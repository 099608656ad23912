"""Who may connect, and how much a client may ask: tokens, origins, limits, keepalive, TLS.

Decisions only; the server checks in this order and answers with the `Refused` it gets:

    draining (503) -> slots (429, 503) -> origin (403) -> token (401)

Imports http and protocol for requests and refusals; knows nothing of sessions and the store.
"""

from portfolio_trio.access._connection_limits import (
    ConnectionLimits,
    Limit,
    LimitReached,
    Slots,
    address_group,
    counted_as,
)
from portfolio_trio.access._first_message import first_message
from portfolio_trio.access._gate import Gate
from portfolio_trio.access._keep_alive import KeepAlive
from portfolio_trio.access._new_sessions import NewSessionLimit, TooManySessions
from portfolio_trio.access._origins import HostRefused, OriginError, OriginPolicy, OriginRefused, parse_origin
from portfolio_trio.access._rate import Decision, RateLimit, Throttle
from portfolio_trio.access._refused import Refused
from portfolio_trio.access._session_ids import new_session_id
from portfolio_trio.access._tls import TlsError, ssl_context
from portfolio_trio.access._tokens import (
    MIN_SECRET_BYTES,
    SecretError,
    SessionTokens,
    TokenFault,
    TokenRefused,
    check_secret,
    split_secrets,
)

__all__ = [
    "MIN_SECRET_BYTES",
    "ConnectionLimits",
    "Decision",
    "Gate",
    "HostRefused",
    "KeepAlive",
    "Limit",
    "LimitReached",
    "NewSessionLimit",
    "OriginError",
    "OriginPolicy",
    "OriginRefused",
    "RateLimit",
    "Refused",
    "SecretError",
    "SessionTokens",
    "Slots",
    "Throttle",
    "TlsError",
    "TokenFault",
    "TokenRefused",
    "TooManySessions",
    "address_group",
    "check_secret",
    "counted_as",
    "first_message",
    "new_session_id",
    "parse_origin",
    "split_secrets",
    "ssl_context",
]
