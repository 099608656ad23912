"""The interface of every engine: redis-py's command methods on top of one way to run a command."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, Literal

from redis.commands import AsyncCoreCommands, AsyncRedisModuleCommands
from redis.event import EventDispatcher
from redis.exceptions import NoScriptError, ResponseError
from typing_extensions import override

from portfolio_trio.redis._commands import check, describe
from portfolio_trio.redis._redis_py import EMPTY_RESPONSE, Encoder, make_encoder, response_callbacks

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from contextlib import AbstractAsyncContextManager

    from redis.commands.core import AsyncScript
    from redis.commands.json import AsyncJSON

    from portfolio_trio.redis._commands import Arg
    from portfolio_trio.redis._pipeline import Call
    from portfolio_trio.redis._pubsub import Subscription
    from portfolio_trio.redis._script import Script
    from portfolio_trio.redis._statistics import ClientStatistics


# Two of redis-py's own mixins declare command_info differently (misc).
class RedisClient(AsyncRedisModuleCommands, AsyncCoreCommands):  # type: ignore[misc]
    """A Redis client: redis-py's commands as async methods, and scripts.

    ``get``, ``set``, ``hset``, ``json()``, ``register_script``, ``evalsha``, ``scan_iter`` and the
    rest of redis-py's mixins work as documented there and return the same Python values.
    Not offered, because one connection is shared by all callers: ``pipeline``, ``transaction``,
    ``lock``, ``pubsub`` and blocking commands.

    Cancelling a caller cancels its wait: the command may still run, its reply is dropped and the connection
    stays usable.
    """

    # Makes redis-py's overloads return awaitables.
    _is_async_client: Literal[True] = True

    def __init__(self) -> None:
        self._callbacks = response_callbacks()
        self._encoder = make_encoder()
        # Declared by redis-py's mixins, but not used here.
        self._event_dispatcher = EventDispatcher()
        # redis-py's json() registers its callbacks again at each call, so one object is kept.
        self._json: AsyncJSON = super().json()

    @abstractmethod
    async def _call(self, args: tuple[Arg, ...], keys: Sequence[Arg] | None, *, repeatable: bool) -> Any:  # noqa: ANN401 - a reply is whatever the server says
        """Run one command and return its raw reply.

        Args:
            args: The whole command, one word each.
            keys: The keys it touches; None to take them from the command.
            repeatable: May be sent once more if the connection is lost with the outcome unknown.

        Raises:
            Unavailable: No reply will come.
            redis.exceptions.ResponseError: The server answered with an error.
        """

    @abstractmethod
    def scan_keys(self, match: str, *, count: int = 1000) -> AsyncIterator[list[bytes]]:
        """Yield pages of the keys that match a glob pattern, from every node.

        Args:
            match: A pattern as in SCAN, for example ``portfolio:*``.
            count: How many keys the server examines per page; pages may be longer or shorter, never empty.

        Raises:
            Unavailable: A node cannot be reached; the pages so far are valid.
        """

    @abstractmethod
    def subscribe(self, *channels: str, max_waiting: int = 1000) -> AbstractAsyncContextManager[Subscription]:
        """Listen to channels on a separate connection; iterate over the result.

        Args:
            channels: Names of channels; patterns are not supported.
            max_waiting: Messages kept for a slow reader; beyond it the oldest are dropped, and a marker says
                so.

        Raises:
            Unavailable: The first subscription failed. After later losses the client reconnects and marks the
                gap in the stream.
        """

    @abstractmethod
    def statistics(self) -> ClientStatistics:
        """Counters and states of every node's connection, as of now."""

    @property
    @abstractmethod
    def many_keys(self) -> bool:
        """Whether one server holds all keys, so that a script may take any number of them."""

    @property
    @abstractmethod
    def ready(self) -> bool:
        """Whether every node is connected, has completed the handshake and has the scripts."""

    # redis-py declares reply types loosely; the values are those of redis-py (ANN401).
    @override
    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """Run one command and convert the reply as redis-py does.

        Raises:
            CommandRefused: The command must not run on a shared connection.
            Unavailable: No reply will come; ``sent`` says whether it may have run.
            redis.exceptions.ResponseError: The server answered with an error.
        """
        first, *rest = args
        first = first.decode("latin-1") if isinstance(first, bytes) else first
        command = describe(first)
        if command.refused or command.look_closer:
            check(command, rest)
        try:
            reply = await self._call(
                (*command.words, *rest), options.pop("keys", None), repeatable=command.read_only
            )
        except ResponseError:
            if EMPTY_RESPONSE in options:
                return options[EMPTY_RESPONSE]
            raise
        callback = self._callbacks.get(command.name)
        return reply if callback is None else callback(reply, **options)

    async def run_script(
        self, script: Script, keys: Sequence[str], args: Sequence[Arg], *, idempotent: bool = False
    ) -> Any:  # noqa: ANN401 - a script replies what it likes
        """Run a script by its hash; if the server does not know it, once more by its source.

        Args:
            script: The script; those given to :func:`open_redis` are loaded already.
            keys: Its KEYS. On a cluster they must be in one slot.
            args: Its ARGV.
            idempotent: Running it twice does no harm (thanks to a fence inside): if the connection is lost
                with the outcome unknown, it is sent exactly once more.

        Returns:
            The raw reply: bytes, int, float, None, or lists of these.

        Raises:
            Unavailable: No reply will come; ``sent`` says whether it may have run.
            CrossSlot: On a cluster, keys of different slots.
            redis.exceptions.ResponseError: The script failed.
        """
        tail = (len(keys), *keys, *args)
        try:
            return await self._call(("EVALSHA", script.sha, *tail), keys, repeatable=idempotent)
        except NoScriptError:
            return await self._call(("EVAL", script.source, *tail), keys, repeatable=idempotent)

    async def run_script_each(self, script: Script, keys: Sequence[str], args: Sequence[Arg]) -> list[Any]:
        """Run an idempotent script once for each key, all in flight at the same time.

        Does what a pipeline does on one connection, but over every node, without a task for each call.

        Args:
            script: As for :meth:`run_script`; running it twice must do no harm.
            keys: One call each; on a cluster they may be in any slots.
            args: The ARGV of every call.

        Returns:
            The replies, in the order of the keys.

        Raises:
            The errors of :meth:`run_script`, for the first key that fails.
        """
        calls = [self._begin(("EVALSHA", script.sha, 1, key, *args), key) for key in keys]
        replies = []
        for key, call in zip(keys, calls, strict=True):
            if call is not None and not call.done.is_set():
                await call.done.wait()
            if call is None or isinstance(call.reply, Exception):
                # Redirected, script unknown, connection lost, or a real error: the slow path finds out.
                replies.append(await self.run_script(script, [key], args, idempotent=True))
            else:
                replies.append(call.reply)
        return replies

    def _begin(self, _args: tuple[Arg, ...], _key: Arg) -> Call | None:
        """Send one command on a key without waiting for its reply; None if that is not possible now."""
        return None

    @override
    def json(self, encoder: object = None, decoder: object = None) -> AsyncJSON:  # type: ignore[override]
        """The JSON commands; always the same object.

        Raises:
            TypeError: An encoder or decoder was given: replies are decoded in the same way for all callers.
        """
        if encoder is not None or decoder is not None:
            raise TypeError(
                "json() takes no encoder or decoder here: encode the value and use execute_command"
            )
        return self._json

    @override
    def register_script(self, script: str | bytes) -> AsyncScript:  # type: ignore[override]
        """redis-py's script object for some Lua text: ``await script(keys=[...], args=[...])``.

        Like :meth:`run_script` it sends the source once if the server does not know the script.
        """
        # redis-py's annotations accept only its own clients (override, misc).
        return super().register_script(script)  # type: ignore[misc]

    def set_response_callback(self, command: str, callback: Callable[..., Any]) -> None:
        """Set how the replies of one command are converted; redis-py's modules use this."""
        self._callbacks[command.upper()] = callback

    def get_encoder(self) -> Encoder:
        """The encoder that ``register_script`` hashes its text with."""
        return self._encoder
