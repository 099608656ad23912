"""Reading documents without a script; not for the hot path."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from pydantic import JsonValue, TypeAdapter, ValidationError
from redis.exceptions import ResponseError

from portfolio_trio.store._calls import translated
from portfolio_trio.store._keys import key_of
from portfolio_trio.store.errors import SessionMissing, WrongType
from portfolio_trio.store.models import Portfolio

if TYPE_CHECKING:
    from portfolio_trio.redis import RedisClient

_DOCUMENT: Final = TypeAdapter(list[dict[str, JsonValue]])
_PORTFOLIO: Final = TypeAdapter(Portfolio)
_PORTFOLIO_FIELDS: Final = ("holdings", "version", "total_value", "valued", "current_analysis")
# Fields that documents of earlier releases may lack.
_LATER_FIELDS: Final = ("run_counter", "incarnation", "targets")


async def read_portfolio(client: RedisClient, session_id: str) -> Portfolio:
    """Return the portfolio, without the results and without counting as the client's activity.

    Raises:
        SessionMissing: There is no such session.
        WrongType: Its key holds something else.
    """
    names = (*_PORTFOLIO_FIELDS, *_LATER_FIELDS)
    found = await _read(client, session_id, *(f"$.{name}" for name in names))
    try:
        fields = {name: found[f"$.{name}"][0] for name in _PORTFOLIO_FIELDS}
        fields |= {name: found[f"$.{name}"][0] for name in _LATER_FIELDS if found[f"$.{name}"]}
        return _PORTFOLIO.validate_python({"session_id": session_id, **fields})
    except (TypeError, KeyError, IndexError, ValidationError) as error:
        raise WrongType(session_id) from error


async def read_document(client: RedisClient, session_id: str) -> dict[str, JsonValue]:
    """Return the whole document.

    Raises:
        SessionMissing: There is no such session.
        WrongType: Its key holds something else.
    """
    found = await _read(client, session_id, "$")
    try:
        return _DOCUMENT.validate_python(found)[0]
    except (IndexError, ValidationError) as error:
        raise WrongType(session_id) from error


# redis-py's annotation does not say what the decoded JSON may be; pydantic validates it next.
async def _read(client: RedisClient, session_id: str, *paths: str) -> Any:  # noqa: ANN401 - see above
    with translated():
        try:
            found = await client.execute_command("JSON.GET", key_of(session_id), *paths)
        except ResponseError as error:
            if "wrong" in str(error).lower():
                raise WrongType(session_id) from error
            raise
    if found is None:
        raise SessionMissing(session_id)
    return found
