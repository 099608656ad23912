"""Install a plug-in package into a separate folder, and serve with its metric and its prices.

The package is in `plugin/`; its `pyproject.toml` has the two entry points by which it is found.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import trio
from trio_websocket import open_websocket_url

PLUGIN = Path(__file__).parent / "plugin"


async def ask(url: str) -> None:
    """Analyse one name with six metrics, on the prices of the plug-in."""
    async with open_websocket_url(url) as socket:
        await socket.send_message(json.dumps({"action": "analyze", "ticker": "MSFT"}))
        for _ in range(6):
            message = json.loads(await socket.get_message())
            print(f"{message['ticker']} {message['metric']:17} {message.get('value', message.get('code'))}")


def main(folder: str) -> None:
    """Install, serve, ask, end."""
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", folder]
    subprocess.run([*pip, *sys.argv[1:], str(PLUGIN)], check=True)
    serve = [sys.executable, "-m", "portfolio_trio", "serve", "--port", "0", "--prices", "sine"]
    paths = [folder, *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    with subprocess.Popen(serve, stderr=subprocess.PIPE, text=True, env=environment) as server:
        try:
            found = (re.search(r"ws://\S+:\d+", line) for line in server.stderr or ())
            address = next(filter(None, found))
            trio.run(ask, f"{address.group()}/ws/example")
        finally:
            server.send_signal(signal.SIGTERM)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as target:
        main(target)
