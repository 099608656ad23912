"""``portfolio-trio serve --workers N`` as a tree of processes."""

from __future__ import annotations

import http.client
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from websockets.sync.client import ClientConnection, connect

PATIENCE = 30
COMMAND = (sys.executable, "-m", "portfolio_trio", "serve", "--port", "0")


class Tree:
    """A supervisor and its workers; what they log is read as it comes."""

    def __init__(self, *flags: str, environment: dict[str, str]) -> None:
        self.supervisor = subprocess.Popen(
            [*COMMAND, *flags],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
            # A process group of its own, so that a test can do what Ctrl-C in a terminal does.
            start_new_session=True,
        )
        self.log: list[str] = []
        self._more = threading.Condition()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.supervisor.stderr is not None
        for line in self.supervisor.stderr:
            with self._more:
                self.log.append(line)
                self._more.notify_all()

    def logged(self, pattern: str) -> list[str]:
        return [match[match.lastindex or 0] for line in self.log if (match := re.search(pattern, line))]

    def wait_for(self, pattern: str, times: int = 1) -> list[str]:
        """Wait until so many lines match; the first group of each."""
        with self._more:
            if not self._more.wait_for(lambda: len(self.logged(pattern)) >= times, PATIENCE):
                raise AssertionError(f"no {times} x {pattern}\n" + "".join(self.log))
            return self.logged(pattern)

    def wait_for_workers(self, times: int = 2) -> list[int]:
        """Wait until so many workers have begun to serve, since the start; their processes."""
        return [int(each) for each in self.wait_for(r"worker \d serves as process (\d+)", times)]

    @property
    def port(self) -> int:
        return int(self.wait_for(r"serving ws://[^:]+:(\d+)")[0])

    def get(self, path: str) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            connection.request("GET", path)
            return connection.getresponse().status
        finally:
            connection.close()

    def websocket(self, session: str) -> ClientConnection:
        client: ClientConnection = connect(
            f"ws://127.0.0.1:{self.port}/ws/{session}", open_timeout=PATIENCE, close_timeout=PATIENCE
        )
        return client

    def wait_until_all_are_gone(self) -> int:
        """Wait until no process of it is left; the supervisor's exit status."""
        # stderr is shared by all: it ends when the last of them has.
        self._reader.join(PATIENCE)
        assert not self._reader.is_alive(), "".join(self.log)
        return self.supervisor.wait(PATIENCE)

    def kill(self) -> None:
        self.supervisor.kill()
        for process in self.logged(r"serves as process (\d+)"):
            # A worker ends without its supervisor, but in a test that failed not within reason.
            with suppress(FileNotFoundError, ProcessLookupError):
                if b"portfolio_trio.worker" in Path(f"/proc/{process}/cmdline").read_bytes():
                    os.kill(int(process), signal.SIGKILL)
        self.supervisor.wait(PATIENCE)
        self._reader.join(PATIENCE)
        assert self.supervisor.stderr is not None
        self.supervisor.stderr.close()


@contextmanager
def serving_with_workers(redis_url: str, *flags: str, workers: int = 2) -> Iterator[Tree]:
    """A tree whose workers all serve; no process of it outlives the block."""
    tree = Tree("--workers", str(workers), *flags, environment={"PORTFOLIO_REDIS_URL": redis_url})
    try:
        tree.wait_for_workers(workers)
        yield tree
    finally:
        tree.kill()
