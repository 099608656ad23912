"""Random heads and random frames against the HTTP server, in memory and in virtual time.

    python -m tests.http.fuzz --cases 100000 --seed 1

prints how many cases ran and which failed, and exits with 1 if any did. A case is wholly determined by its
seed and number; `--first N --cases 1` runs case N alone.

The draws are independent on purpose: driven by Hypothesis, which varies what it has drawn before, the same
generator found three of five planted faults in three times 300 cases, where this found all five.
"""

import argparse
import logging
import math
import sys
import traceback
from dataclasses import dataclass, field
from functools import partial
from random import Random

import trio
from typing_extensions import override

from portfolio_trio.http import WebSocketTransport
from tests.http.frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    close,
    frame,
    head,
    plain_head,
    read_answer,
    read_frame,
)
from tests.http.memory_server import Client, MemoryServer, echo, ping_while_receiving, run_in_virtual_time
from tests.support.streams import NarrowStream, SlicingStream

STATUSES = {101, 200, 400, 404, 405, 408, 413, 426, 431, 501, 503, 505}
CLOSE_CODES = {1000, 1001, 1002, 1007, 1009, 1013}
HEADERS = [
    "host",
    "connection",
    "upgrade",
    "sec_websocket_version",
    "sec_websocket_key",
    "sec_websocket_protocol",
    "sec_websocket_extensions",
    "origin",
    "authorization",
    "content_length",
    "transfer_encoding",
    "expect",
    "x_note",
]
VALUES = [
    b"",
    b"\xe9\xff",
    b"upgrade",
    b"Upgrade, keep-alive",
    b"websocket",
    b"13",
    b"chunked",
    b"100-continue",
    b"3",
    b"portfolio.v1, other",
    b"permessage-deflate",
    b'a, "b',
    b"xn--a",
    b"x" * 300,
]
TARGETS = [
    b"/ws/a",
    b"/ws/a",
    b"/ws/a?token=%ff",
    b"/ws/%00",
    b"/health",
    b"/echo",
    b"/",
    b"*",
    b"http://h/ws/a",
]
PATIENCE_SECONDS = 300


class Errors(logging.Handler):
    """Keeps what the server logs as an error: no peer should be able to cause one."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.records: list[logging.LogRecord] = []

    @override
    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@dataclass
class Case:
    """What one random client does, and how the server's side of it behaves."""

    request: bytes
    frames: list[bytes] = field(default_factory=list)
    ending: str = "half-close"
    slices: int | None = None
    capacity: int | None = None
    session: str = "echo"

    @property
    def whole(self) -> bool:
        """Whether neither side aborts the connection, so that the client must see only whole frames.

        A ping without its pong breaks it off, too.
        """
        return self.capacity is None and self.ending != "vanish" and self.session not in {"abort", "ping"}


def random_case(rng: Random) -> Case:
    handshake = rng.random() < 0.6
    case = Case(request=_upgrade(rng) if handshake else _request(rng))
    if handshake or rng.random() < 0.3:
        case.frames = [_frames(rng) for _ in range(rng.randrange(8))]
    case.ending = rng.choice(["half-close", "half-close", "close", "silence", "vanish"])
    # Large messages byte by byte would cost seconds of real time each.
    small = sum(map(len, case.frames)) < 3_000
    case.slices = rng.choice([None, None, 1, 7, 200] if small else [None, 5_000])
    case.capacity = rng.choice([None] * 8 + [0, 100, 200, 1_000])
    case.session = rng.choice(["echo", "echo", "return", "close", "ping", "abort"])
    return case


def _upgrade(rng: Random) -> bytes:
    return head() if rng.random() < 0.7 else head(sec_websocket_protocol=b"portfolio.v1, other")


def _request(rng: Random) -> bytes:
    kind = rng.randrange(5)
    if kind == 0:
        return rng.randbytes(rng.randrange(1, 400))
    if kind == 1:
        changes = {name: rng.choice([*VALUES, None]) for name in rng.sample(HEADERS, rng.randrange(1, 4))}
        method = rng.choice([b"GET", b"GET", b"POST", b"HEAD", b"OPTIONS"])
        return head(
            rng.choice(TARGETS), method=method, version=rng.choice([b"1.1", b"1.1", b"1.0"]), **changes
        )
    if kind == 2:
        return _with_flipped_bytes(head(), rng)
    if kind == 3:
        request = rng.choice([head(), plain_head(b"/echo", method=b"POST", expect=b"100-continue")])
        return request[: rng.randrange(len(request))]
    return plain_head(rng.choice(TARGETS), method=rng.choice([b"GET", b"POST", b"PUT"])) * rng.randrange(1, 3)


def _with_flipped_bytes(request: bytes, rng: Random) -> bytes:
    flipped = bytearray(request)
    for _ in range(rng.randrange(1, 6)):
        flipped[rng.randrange(len(flipped))] = rng.randrange(256)
    return bytes(flipped)


def _frames(rng: Random) -> bytes:
    """Return one message or one oddity."""
    make = rng.choice([_message] * 4 + [_control, _misplaced, _oversized, _close, _malformed, _noise])
    return make(rng)


def _control(rng: Random) -> bytes:
    return frame(rng.choice([PING, PONG]), rng.randbytes(rng.randrange(126)))


def _misplaced(rng: Random) -> bytes:
    return frame(rng.randrange(16), rng.randbytes(rng.randrange(200)), final=rng.random() < 0.5)


def _oversized(rng: Random) -> bytes:
    return frame(TEXT, b"x" * rng.choice([65_536, 65_537, 80_000])) + frame(PING, b"behind")


def _close(rng: Random) -> bytes:
    code = rng.choice([None, 1000, 1001, 999, 1005, 1006, 3000, 4999, 5000, 65_535])
    return close(code, rng.randbytes(rng.randrange(3)))


def _malformed(rng: Random) -> bytes:
    return frame(
        rng.choice([TEXT, BINARY, PING]),
        rng.randbytes(rng.randrange(20)),
        masked=rng.random() < 0.5,
        reserved=rng.randrange(8),
        claimed=rng.choice([None, 0, 125, 126, 65_536, 2**63, 2**63 - 1]),
    )


def _noise(rng: Random) -> bytes:
    return rng.randbytes(rng.randrange(1, 60))


def _message(rng: Random) -> bytes:
    """Return a valid message, perhaps in fragments with control frames between them."""
    opcode = rng.choice([TEXT, BINARY])
    if opcode == TEXT:
        payload = "".join(rng.choices("aü€📈", k=rng.randrange(100))).encode()
        if rng.random() < 0.2:
            payload += b"\xff"
    else:
        payload = rng.randbytes(rng.randrange(400))
    cuts = sorted(rng.randrange(len(payload) + 1) for _ in range(rng.randrange(4)))
    parts = [payload[start:end] for start, end in zip([0, *cuts], [*cuts, len(payload)], strict=True)]
    data = b""
    for number, part in enumerate(parts):
        data += frame(opcode if number == 0 else CONTINUATION, part, final=number == len(parts) - 1)
        if rng.random() < 0.3:
            data += frame(rng.choice([PING, PONG]), b"between")
    return data


async def answer(transport: WebSocketTransport, kind: str, count: float) -> None:
    """Answer `count` messages, then end in one of the ways sessions end."""
    try:
        while count > 0:
            message = await transport.receive()
            with trio.fail_after(5):
                await transport.send([str(len(message)), "and" * 50])
            count -= 1
    except trio.TooSlowError:
        transport.abort()
    if kind == "close":
        await transport.close(1013, "enough", timeout=3)
    elif kind == "ping":
        await ping_while_receiving(transport, 3)
    elif kind == "abort":
        transport.abort()


async def run_case(rng: Random) -> None:
    """Run one case; whatever is wrong with the server comes out as an exception."""
    errors = Errors()
    log = logging.getLogger("portfolio_trio")
    log.addHandler(errors)
    try:
        with trio.fail_after(PATIENCE_SECONDS):
            async with trio.open_nursery() as nursery:
                await _meet(MemoryServer(nursery), random_case(rng), rng)
    finally:
        log.removeHandler(errors)
    if errors.records:
        raise AssertionError([record.getMessage() for record in errors.records])


async def _meet(memory_server: MemoryServer, case: Case, rng: Random) -> None:
    count = math.inf if case.session == "echo" else rng.randrange(1, 4)
    memory_server.session = partial(answer, kind=case.session, count=count)

    def wrap(stream: trio.abc.HalfCloseableStream) -> trio.abc.Stream:
        if case.slices is not None:
            limit = case.slices
            stream = SlicingStream(stream, lambda: rng.randint(1, limit))
        return stream if case.capacity is None else NarrowStream(stream, case.capacity)

    client = memory_server.connect(wrap)
    await _act(client, case, rng)
    while memory_server.open:  # noqa: ASYNC110  (virtual time costs nothing)
        await trio.sleep(1)
    memory_server.session = echo
    good = memory_server.connect()
    await good.upgrade()
    if not await good.echoes("still here"):
        raise AssertionError("A good client is not served any more.")
    await good.send(close())
    if [frame_.code for frame_ in await good.rest_frames()] != [1000]:
        raise AssertionError("A good client is not closed as it should be.")


async def _act(client: Client, case: Case, rng: Random) -> None:
    try:
        await client.send(case.request)
        for data in case.frames:
            await client.send(data)
            if rng.random() < 0.2:
                await trio.sleep(rng.random())
        if case.ending == "close":
            await client.send(close())
        if case.ending != "vanish":
            # A close frame may count as the payload of a broken frame before it.
            await trio.sleep(0 if case.ending == "half-close" else 30)
            await client.stream.send_eof()
    except trio.BrokenResourceError:
        pass
    if case.ending == "vanish":
        await client.stream.aclose()
        return
    output = await client.rest()
    if case.whole:
        check_output(output, head_only=case.request.startswith(b"HEAD ") and output.endswith(b"\r\n\r\n"))


def check_output(output: bytes, *, head_only: bool) -> None:
    """Check all that one connection got: one answer, then whole frames up to a close frame."""
    go_on, separator, rest = output.partition(b"\r\n\r\n")
    if separator and go_on.startswith(b"HTTP/1.1 100 "):
        output = rest
    if not output:
        return
    answer = read_answer(output, head_only=head_only)
    assert answer.status in STATUSES, f"status {answer.status}"
    data = answer.body if answer.status == 101 else b""
    closed = False
    while data:
        assert not closed, "a frame behind the close frame"
        parsed = read_frame(data)
        assert parsed is not None, "half a frame"
        found, data = parsed
        closed = found.opcode == CLOSE
        if closed and found.payload:
            assert found.code in CLOSE_CODES or 3000 <= found.code <= 4999, f"close code {found.code}"


async def run_cases(seed: int, first: int, count: int) -> list[tuple[int, BaseException]]:
    """Run `count` cases and return those that failed, by number."""
    failures: list[tuple[int, BaseException]] = []
    for number in range(first, first + count):
        try:
            await run_case(Random(f"{seed}/{number}"))
        except (Exception, BaseExceptionGroup) as error:  # noqa: BLE001  (a failed case is a result here)
            failures.append((number, error))
    return failures


def main() -> int:
    parser = argparse.ArgumentParser(description="Fuzz the HTTP server.")
    parser.add_argument("--cases", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0)
    options = parser.parse_args()
    logging.getLogger("portfolio_trio").propagate = False
    failures: list[tuple[int, BaseException]] = []

    async def run() -> None:
        failures.extend(await run_cases(options.seed, options.first, options.cases))

    run_in_virtual_time(run)
    for number, error in failures[:20]:
        sys.stderr.write(f"case {number}:\n{''.join(traceback.format_exception(error))}\n")
    sys.stdout.write(f"{options.cases} cases, seed {options.seed}: {len(failures)} failed\n")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
