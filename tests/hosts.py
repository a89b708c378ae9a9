"""The gateway as a process of its own, under each server that can host it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from isthmus.simulator import Options, Simulator
from tests.harness import UPSTREAM_KEY, Loop, World
from tests.processes import GATEWAY, ROOT, environment

SECONDS = 20
HOSTS: dict[str, Sequence[str]] = {
    "edge": [*GATEWAY, "serve", "--port"],
    "uvicorn": [
        *(sys.executable, "-m", "uvicorn", "isthmus.asgi:app", "--ws", "none"),
        *("--log-level", "warning", "--port"),
    ],
    "granian": [
        *(sys.executable, "-m", "granian", "isthmus.asgi:app", "--interface", "asgi"),
        *("--no-ws", "--log-level", "warning", "--port"),
    ],
}
PAGE = os.sysconf("SC_PAGE_SIZE")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


class Hosted(World):
    """A gateway in a process of its own before a simulator in this one.

    ``url`` is another provider's, in the simulator's place; ``prefix`` stands before the command.
    """

    def __init__(
        self,
        host: str = "edge",
        url: str = "",
        prefix: Sequence[str] = (),
        **config: Any,
    ) -> None:
        self.host = host
        self.base = 0
        self.loop = Loop()
        self.simulator = Simulator(Options(api_keys=(UPSTREAM_KEY,)))
        self.loop.run(self.simulator.start())
        backend = {
            "type": "anthropic",
            "api_key": UPSTREAM_KEY,
            "base_url": url or self.simulator.url,
        }
        self._folder = tempfile.TemporaryDirectory()
        home = Path(self._folder.name)
        path = home / "config.yaml"
        path.write_text(json.dumps({"backends": {"anthropic": backend}, **config}))
        self.log = home / "log"
        self.port = free_port()
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [*prefix, *HOSTS[host], str(self.port)],
                cwd=ROOT,
                env=environment(home, ISTHMUS_CONFIG=str(path)),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            self._await_start()
        except BaseException:
            self.close()
            raise

    def _await_start(self) -> None:
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                if self.get("/v1/models").status in (200, 401):
                    return
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.05)
        raise AssertionError(self.log.read_text())

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(SECONDS)
        finally:
            self.process.kill()
            self.process.wait()
            self.loop.run(self.simulator.stop())
            self.loop.close()
            self.log_text = self.log.read_text()
            self._folder.cleanup()

    # Probes: of the process that was started, which serves by itself under `serve`.

    def rss(self) -> int:
        """Bytes of memory that are resident."""
        text = Path(f"/proc/{self.process.pid}/statm").read_text()
        return int(text.split()[1]) * PAGE

    def descriptors(self) -> int:
        return sum(1 for _ in Path(f"/proc/{self.process.pid}/fd").iterdir())

    def settled(self, seconds: float = 5.0) -> bool:
        """Whether its descriptors come back to ``base``, but for two that a pool may keep."""
        deadline = time.monotonic() + seconds
        while self.process.poll() is None and time.monotonic() < deadline:
            if self.descriptors() <= self.base + 2:
                return True
            time.sleep(0.05)
        return self.process.poll() is not None

    def cpu(self) -> float:
        """Seconds of processor time, of the process and the system for it."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
