"""Run each example, and the demo, many times in one process, and check its output.

    python examples/repeat_examples.py [TIMES]

Several copies run at the same time, so that they disturb each other as on a busy machine. The example that
starts processes (`plugin_package.py`) is not repeated: nothing in it depends on timing.
"""

from __future__ import annotations

import importlib.util
import io
import logging
import re
import sys
import tempfile
import time
from contextvars import ContextVar
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import trio
from trio.testing import MockClock
from typing_extensions import override

from portfolio_trio.cli.demo import demo
from portfolio_trio.server.serve import listen
from portfolio_trio.server.server import open_server
from portfolio_trio.settings import Delay, Settings

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import ModuleType

HERE = Path(__file__).parent
AT_ONCE = 10
PATIENCE_SECONDS = 120.0


class Claim(NamedTuple):
    """Patterns that the output always and never matches, whatever the timing; the dot matches line ends."""

    always: str
    never: str = r"\Z\A."


CLAIMS = {
    "demo_client": Claim(r"switching to GOOGL.*(?:^GOOGL .*){5}\Z", r"^GOOGL .*^AAPL "),
    "cancel_on_switch": Claim(
        r"run 1 of AAPL started.*run 1 of AAPL cancelled \(switched\).*run 2 of MSFT started"
        r".*run 2 of MSFT cancelled \(switched\).*run 3 of GOOGL started"
        r".*run 3 of GOOGL cancelled \(cancelled\)"
    ),
    "typed_client": Claim(
        r"(?:^  AAPL .*){2}left AAPL.*(?:^  MSFT .*){5}recorded: AAPL", r"left AAPL.*^  AAPL "
    ),
    "two_workers": Claim(
        r"analysis_cancelled 1 AAPL superseded.*analysis_started 2 MSFT.*(?:analysis_result 2 MSFT .*){5}"
        r"analysis_completed 2 MSFT",
        r"analysis_started 2 MSFT.*analysis_result 1",
    ),
    "deterministic_cancellation": Claim(r"analysis_cancelled AAPL switched.*analysis_completed MSFT"),
    "custom_metric": Claim(r"^max_drawdown +-0\.\d"),
    "csv_prices": Claim(r"worth (?P<before>\S+) .*worth (?!(?P=before) )"),
    "demo": Claim(
        r"AAPL was (?:cancelled in \d+ µs|completed) before GOOGL started.*5 results",
        r"GOOGL: run \d+ started.* ms  AAPL: ",
    ),
}

_output: ContextVar[io.StringIO] = ContextVar("_output")


class _PerTask(io.TextIOBase):
    """Standard output that separates what each task printed."""

    @override
    def write(self, text: str) -> int:
        """Keep a text for the task that prints it."""
        return _output.get().write(text)


def load(name: str) -> ModuleType:
    """Load an example as a module, without running its ``main``."""
    spec = importlib.util.spec_from_file_location(name, HERE / f"{name}.py")
    if spec is None or spec.loader is None:
        raise RuntimeError(f"{name}.py cannot be loaded")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def hold(name: str, printed: str) -> None:
    """Exit if an output is not as expected."""
    claim = CLAIMS[name]
    flags = re.MULTILINE | re.DOTALL
    if not re.search(claim.always, printed, flags) or re.search(claim.never, printed, flags):
        sys.exit(f"{name} printed unexpected output:\n{printed}")


async def repeat(name: str, example: Callable[[], Awaitable[object]], times: int) -> None:
    """Run an example many times, some of them concurrently."""
    places = trio.CapacityLimiter(AT_ONCE)

    async def once() -> None:
        async with places:
            _output.set(io.StringIO())
            with trio.fail_after(PATIENCE_SECONDS):
                await example()
            hold(name, _output.get().getvalue())

    async with trio.open_nursery() as nursery:
        for _ in range(times):
            nursery.start_soon(once)


async def demo_client(times: int) -> None:
    """The simplest client needs a server."""
    settings = Settings(port=0, metric_delay_seconds=Delay(0.1, 0.5))
    ask = load("demo_client").main
    async with open_server(settings) as server, trio.open_nursery() as nursery:
        host, port = await nursery.start(partial(listen, server, trio.CancelScope()))
        numbers = iter(range(times))
        await repeat("demo_client", lambda: ask(f"ws://{host}:{port}/ws/example-{next(numbers)}"), times)
        nursery.cancel_scope.cancel()


def deterministic_cancellation(times: int) -> None:
    """Virtual time: its output is always the same."""
    main = load("deterministic_cancellation").main
    outputs = set()
    for _ in range(times):
        _output.set(io.StringIO())
        trio.run(main, clock=MockClock(autojump_threshold=0))
        outputs.add(_output.get().getvalue())
    for printed in outputs:
        hold("deterministic_cancellation", printed)
    if len(outputs) != 1:
        sys.exit("deterministic_cancellation printed different timelines")


async def csv_prices() -> None:
    """Run it with its own file of live prices."""
    with tempfile.TemporaryDirectory() as folder:
        await load("csv_prices").main(Path(folder) / "live.json")


def main(times: int) -> None:
    """Run all of them, one kind after another."""
    # The sample's closes are known to be old.
    logging.getLogger("portfolio_trio").addHandler(logging.NullHandler())
    shown = sys.stdout
    sys.stdout = _PerTask()
    kinds: dict[str, Callable[[], object]] = {
        "demo_client": partial(trio.run, demo_client, times),
        "deterministic_cancellation": partial(deterministic_cancellation, times),
    }
    examples: dict[str, Callable[[], Awaitable[object]]] = {
        "csv_prices": csv_prices,
        "demo": partial(demo, plain=True),
    }
    for name in CLAIMS.keys() - kinds.keys():
        example = examples.get(name) or load(name).main
        kinds[name] = partial(trio.run, repeat, name, example, times)
    for name in CLAIMS:
        began = time.perf_counter()
        kinds[name]()
        print(
            f"{name}: {times} times as expected, in {time.perf_counter() - began:.0f} s",
            file=shown,
            flush=True,
        )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 50)
