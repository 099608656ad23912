"""Run every example as a user would, the demo included; stop at the first that fails."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
# Examples without a server are run against one started for them.
NEEDS_SERVER = {"demo_client.py"}
NO_EXAMPLES = {"run_examples.py", "repeat_examples.py"}
PATIENCE_SECONDS = 60


def run(*command: str) -> None:
    """Print and run one command; exit if its status is not 0."""
    print(f"\n$ python {' '.join(command)}", flush=True)
    subprocess.run([sys.executable, *command], check=True, timeout=PATIENCE_SECONDS)


def run_against_server(example: Path) -> None:
    """Start a server on a free port, run the example against it, stop the server as an operator would."""
    flags = ["serve", "--port", "0", "--metric-delay-seconds", "0.1,0.5"]
    server = subprocess.Popen(
        [sys.executable, "-m", "portfolio_trio", *flags], stderr=subprocess.PIPE, text=True
    )
    try:
        if server.stderr is None:
            raise RuntimeError("the server's output was not captured")
        address = next(filter(None, (re.search(r"ws://\S+:\d+", line) for line in server.stderr)))
        run(str(example), f"{address.group()}/ws/example")
        server.send_signal(signal.SIGTERM)
        status = server.wait(PATIENCE_SECONDS)
        if status != 0:
            sys.exit(f"the server ended with status {status}")
    finally:
        server.kill()
        server.wait()


def main() -> None:
    """Run all of them, in the order of their names."""
    for example in sorted(HERE.glob("*.py")):
        if example.name in NEEDS_SERVER:
            run_against_server(example)
        elif example.name not in NO_EXAMPLES:
            run(str(example))
    run("-m", "portfolio_trio", "demo")


if __name__ == "__main__":
    main()
