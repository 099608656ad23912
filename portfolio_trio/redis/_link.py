"""A connection to one server that reconnects whenever it is lost."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import anyio
from anyio import TASK_STATUS_IGNORED
from redis.backoff import EqualJitterBackoff
from redis.exceptions import ReadOnlyError, RedisError

from portfolio_trio.nurseries import background
from portfolio_trio.redis._commands import pack
from portfolio_trio.redis._connection import Connection
from portfolio_trio.redis._dial import dial
from portfolio_trio.redis._handshake import greet
from portfolio_trio.redis._statistics import NodeStatistics, State
from portfolio_trio.redis.errors import CannotConnect, ReadOnlyServer, Unavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from anyio.abc import ByteStream, TaskStatus
    from redis.backoff import AbstractBackoff

    from portfolio_trio.redis._pipeline import Call
    from portfolio_trio.redis._script import Script
    from portfolio_trio.redis._url import Endpoint

_T = TypeVar("_T")

_ASKING = pack(("ASKING",))

# A connection that ends sooner than this counts as another failure for the back-off.
_STEADY_SECONDS = 1.0


def default_backoff() -> AbstractBackoff:
    """Doubling delays from 50 ms to 2 s, half of each random, so that clients do not all return at once."""
    return EqualJitterBackoff(cap=2.0, base=0.05)


@dataclass(frozen=True, slots=True)
class LinkOptions:
    """Options of the links of one client.

    Attributes:
        scripts: Loaded on every connection before it is used.
        client_name: The name shown by CLIENT LIST.
        max_pending: Maximum number of commands without a reply, per node.
        max_unsent_bytes: Bytes gathered for one send, per node.
        reply_timeout: Seconds a reply may take.
        connect_timeout: Seconds for connecting, TLS, handshake and scripts together.
        backoff: Delay in seconds, by the number of failures in a row.
        dial: Opens the byte stream; tests insert a faulty one.
        cluster: The client is for a cluster; any other client refuses a cluster node.
    """

    scripts: Sequence[Script] = ()
    client_name: str = "portfolio-trio"
    max_pending: int = 10_000
    max_unsent_bytes: int = 64 * 1024 * 1024
    reply_timeout: float = 5.0
    connect_timeout: float = 5.0
    backoff: AbstractBackoff = field(default_factory=default_backoff)
    dial: Callable[[Endpoint], Awaitable[ByteStream]] = dial
    cluster: bool = False


def _ignore_push(_message: list[Any]) -> None:
    """Out-of-band messages (such as maintenance notices of a server) belong to no caller."""


class Link:
    """Sends commands to one server over its current connection.

    Args:
        endpoint: The server.
        options: How the link behaves.
        on_push: Receives out-of-band messages.
        setup: Runs on each new connection after the handshake, before it counts as ready.
        patient: Keep trying even when the first connection fails.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        options: LinkOptions,
        *,
        on_push: Callable[[list[Any]], None] = _ignore_push,
        setup: Callable[[Connection], Awaitable[None]] | None = None,
        patient: bool = False,
    ) -> None:
        self.endpoint = endpoint
        self._options = options
        self._on_push = on_push
        self._setup = setup
        self._patient = patient
        self._scope = anyio.CancelScope()
        self._connection: Connection | None = None
        self._resolved = anyio.Event()
        self._received_before = 0
        self._last_error = ""
        self._connects = 0
        self.state = State.CONNECTING

    @property
    def ready(self) -> bool:
        """Whether commands would be sent now."""
        return self._connection is not None and not self._connection.lost.is_set()

    async def run(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Keep a connection open until closed; started when the first one is ready.

        Raises:
            CannotConnect, WrongPassword, WrongDatabase, ScriptRejected: The first connection failed.
        """
        failures = 0
        try:
            with self._scope:
                while True:
                    served = await self._attempt_or_note(task_status)
                    failures = 0 if served >= _STEADY_SECONDS else failures + 1
                    self.state = State.WAITING
                    await anyio.sleep(self._options.backoff.compute(failures))
        finally:
            self.state = State.CLOSED
            self._resolve()

    # A reply has whatever type the server sends (ANN401).
    async def call(self, packed: bytes, *, repeatable: bool = False) -> Any:  # noqa: ANN401
        """Send one packed command and wait for its reply.

        Args:
            packed: The command's bytes.
            repeatable: Send it once more if the connection is lost while it waits.

        Raises:
            Unavailable: No reply will come.
            redis.exceptions.ResponseError: The reply is an error.
        """
        connection = self._connection
        if connection is None:
            raise self._down()
        call = connection.submit(packed)
        await call.done.wait()
        reply = call.reply
        if isinstance(reply, Exception):
            return await self._failed(reply, connection, packed, repeatable=repeatable)
        return reply

    def begin(self, packed: bytes) -> Call | None:
        """Send one packed command without waiting for its reply; None while there is no connection.

        Raises:
            TooManyPending: A bound is reached.
        """
        return None if not self.ready or self._connection is None else self._connection.submit(packed)

    async def ask(self, packed: bytes) -> Any:  # noqa: ANN401
        """As :meth:`call`, for a slot that is moving to this node (ASK)."""
        if self._connection is not None:
            # Its reply is read in turn and dropped; no command can come between the two.
            self._connection.submit(_ASKING)
        return await self.call(packed)

    async def resolved(self) -> None:
        """Wait until the next attempt to connect has succeeded or failed, or the link was closed."""
        if self.state is not State.CLOSED:
            await self._resolved.wait()

    def stop(self) -> None:
        """End :meth:`run`."""
        self._scope.cancel()

    def statistics(self) -> NodeStatistics:
        """Counters and state as of now."""
        pipeline = None if self._connection is None else self._connection.pipeline
        received = self._received_before + (0 if pipeline is None else pipeline.received)
        pending = 0 if pipeline is None else pipeline.pending
        return NodeStatistics(
            address=self.endpoint.address,
            state=State.WAITING if self.state is State.READY and not self.ready else self.state,
            pending=pending,
            unsent_bytes=0 if pipeline is None else pipeline.unsent_bytes,
            sent=received + pending,
            received=received,
            connects=self._connects,
            last_error=self._last_error,
        )

    async def _attempt_or_note(self, task_status: TaskStatus[None]) -> float:
        try:
            return await self._attempt(task_status)
        except RedisError as error:
            if not self._connects and not self._patient:
                raise
            self._last_error = str(error)
            self._resolve()
            return 0.0

    async def _attempt(self, task_status: TaskStatus[None]) -> float:
        """Run one connection from dialling to its loss; returns the seconds it was in use."""
        self.state = State.CONNECTING
        deadline = anyio.current_time() + self._options.connect_timeout
        stream = await self._by(deadline, self._options.dial(self.endpoint))
        connection = Connection(
            stream,
            reply_timeout=self._options.reply_timeout,
            on_push=self._on_push,
            max_pending=self._options.max_pending,
            max_unsent_bytes=self._options.max_unsent_bytes,
        )
        async with background() as tasks:
            tasks.start_soon(connection.run)
            await self._by(deadline, self._greet(connection))
            return await self._stand(connection, task_status)

    async def _by(self, deadline: float, work: Awaitable[_T]) -> _T:
        with anyio.CancelScope(deadline=deadline):
            return await work
        raise CannotConnect(
            f"Redis at {self.endpoint.address} did not answer within {self._options.connect_timeout:g} s; "
            "check the address and the network in between"
        )

    async def _greet(self, connection: Connection) -> None:
        options = self._options
        await greet(connection, self.endpoint, options.client_name, options.scripts, cluster=options.cluster)
        if self._setup is not None:
            await self._setup(connection)

    async def _stand(self, connection: Connection, task_status: TaskStatus[None]) -> float:
        since = anyio.current_time()
        self._connection = connection
        self._connects += 1
        self.state = State.READY
        self._resolve()
        if self._connects == 1:
            task_status.started()
        try:
            await connection.lost.wait()
        finally:
            self._connection = None
            self._received_before += connection.pipeline.received
            self._last_error = connection.reason
        return anyio.current_time() - since

    def _resolve(self) -> None:
        """Tell the calls that wait to be sent again how the latest attempt ended."""
        self._resolved.set()
        self._resolved = anyio.Event()

    def _down(self) -> Unavailable:
        why = f": {self._last_error}" if self._last_error else ""
        return Unavailable(f"Redis at {self.endpoint.address} is not connected{why}; it was not sent")

    async def _failed(
        self, failure: Exception, connection: Connection, packed: bytes, *, repeatable: bool
    ) -> Any:  # noqa: ANN401 - a reply is whatever the server says
        if isinstance(failure, ReadOnlyError):
            connection.retire(f"{self.endpoint.address} is a read-only replica")
            raise ReadOnlyServer(
                f"{self.endpoint.address} is a read-only replica: name its primary, or promote it"
            ) from failure
        if repeatable and isinstance(failure, Unavailable):
            if self._connection in {None, connection}:
                await self.resolved()
            if self.ready:
                return await self.call(packed)
        raise failure
