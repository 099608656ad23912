"""A task group for helper tasks of a block."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from anyio.abc import TaskGroup


@asynccontextmanager
async def background() -> AsyncIterator[TaskGroup]:
    """A task group whose tasks are cancelled when the body ends.

    The body's exceptions are raised unchanged, not inside an exception group, so that callers can catch their
    own exceptions whatever tasks run beside the body. Works on Trio and asyncio.
    """
    failure: Exception | None = None
    async with anyio.create_task_group() as tasks:
        try:
            yield tasks
        # Raised again below, outside the group.
        except Exception as error:  # noqa: BLE001
            failure = error
        finally:
            tasks.cancel_scope.cancel()
    if failure is not None:
        raise failure
