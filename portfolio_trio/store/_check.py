"""Does this Redis do all that the store asks of it?"""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

from portfolio_trio.store._calls import NEEDS, translated
from portfolio_trio.store.errors import StoreUnsupported
from portfolio_trio.store.scripts import script

if TYPE_CHECKING:
    from portfolio_trio.redis import RedisClient


async def check_engine(client: RedisClient) -> None:
    """Try every JSON command of the scripts, from Lua, on a key that is removed at once.

    Raises:
        StoreUnsupported: No JSON, no Lua, or one that answers otherwise; the message says what to do.
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
