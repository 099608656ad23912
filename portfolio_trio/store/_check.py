"""Whether a Redis supports everything the store needs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from uuid import uuid4

from portfolio_trio.redis import JsonModule, server_facts
from portfolio_trio.store._calls import NEEDS, translated
from portfolio_trio.store.errors import StoreUnsupported
from portfolio_trio.store.scripts import script

if TYPE_CHECKING:
    from portfolio_trio.redis import RedisClient, ServerFacts


OLDEST_REDIS_JSON: Final = JsonModule("ReJSON", 20_600)
"""The first version with JSON.MSET."""


async def check_engine(client: RedisClient) -> ServerFacts:
    """Read the server's facts, and try what the scripts need, as `check_writes` does.

    Returns:
        The facts the server reports about itself, as far as it does.

    Raises:
        StoreUnsupported: JSON or Lua is missing or behaves differently; the message says what to do.
        StoreError: Redis could not be reached or refuses writes.
    """
    with translated():
        facts = await server_facts(client)
    try:
        _refuse_old_json(facts)
        await check_writes(client)
    except StoreUnsupported as error:
        who = f"{facts.name} {facts.version} at {facts.address}: " if facts.version else ""
        raise StoreUnsupported(f"{who}{error}") from error
    return facts


async def check_writes(client: RedisClient) -> None:
    """Try every JSON command of the scripts, from Lua, on a key that is removed immediately.

    Raises:
        StoreUnsupported: One of them gives an unexpected reply.
        StoreError: Redis could not be reached or refuses writes.
    """
    key = f"portfolio-check:{{{uuid4().hex}}}"
    with translated():
        status, *rest = await client.run_script(script("check_engine"), [key], ())
    if status != b"ok":
        command, got = (text.decode(errors="backslashreplace") for text in rest)
        raise StoreUnsupported(
            f"this Redis answers {command} with {got}, which the scripts cannot use: {NEEDS}"
        )


def _refuse_old_json(facts: ServerFacts) -> None:
    found = facts.json
    if found is not None and found.name == OLDEST_REDIS_JSON.name and found.number < OLDEST_REDIS_JSON.number:
        raise StoreUnsupported(
            f"this Redis has RedisJSON {found.version}, and the scripts need JSON.MSET, which came with 2.6: "
            f"{NEEDS}"
        )
