"""Run the Autobahn project's fuzzing client against the HTTP server, where its `wstest` is installed.

    python -m tests.http.conformance [--wstest PATH] [CASE ...]

Cases 12 and 13 are left out: they are about compression, which is never negotiated. The exit status is 0 if
no case failed; a case whose reply was overtaken by the close of a broken connection is "non-strict" and fine.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from functools import partial
from pathlib import Path

import trio

from portfolio_trio.http import HttpServer, serve_listeners
from tests.http.echo import echo

FINE = {"OK", "NON-STRICT", "INFORMATIONAL"}
AGENT = "portfolio_trio"


async def run(wstest: str, cases: list[str], folder: Path) -> dict[str, dict[str, object]]:
    """Serve an echo, let the suite at it, and return its report."""
    memory_server = HttpServer(routes={}, websocket=echo)
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    spec = {
        "outdir": str(folder),
        "servers": [{"agent": AGENT, "url": f"ws://127.0.0.1:{port}/ws/echo"}],
        "cases": cases,
        "exclude-cases": ["12.*", "13.*"],
        "exclude-agent-cases": {},
    }
    path = trio.Path(folder) / "spec.json"
    await path.write_text(json.dumps(spec))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(serve_listeners, listeners, memory_server.serve, handler_nursery=nursery))
        command = [wstest, "--mode", "fuzzingclient", "--spec", str(path)]
        await trio.run_process(command, stdout=subprocess.DEVNULL)
        nursery.cancel_scope.cancel()
    report: dict[str, dict[str, dict[str, object]]] = json.loads(
        await (trio.Path(folder) / "index.json").read_text()
    )
    return report[AGENT]


def main() -> int:
    """Print what the suite found."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--wstest", default=shutil.which("wstest"))
    parser.add_argument("cases", nargs="*", default=["*"])
    arguments = parser.parse_args()
    if arguments.wstest is None:
        print("not run: there is no wstest on the PATH (it comes with the package autobahntestsuite)")
        return 0
    with tempfile.TemporaryDirectory() as folder:
        report = trio.run(run, arguments.wstest, arguments.cases, Path(folder))
    failed = {
        name: case for name, case in report.items() if not {case["behavior"], case["behaviorClose"]} <= FINE
    }
    print(f"{len(report)} cases: {dict(Counter(str(case['behavior']) for case in report.values()))}")
    for name, case in failed.items():
        print(f"FAILED {name}: {case['behavior']}, close {case['behaviorClose']} {case['remoteCloseCode']}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
