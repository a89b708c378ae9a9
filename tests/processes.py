"""Starts commands as a user does: a process of its own, an environment of its own, ended by its pid."""

from __future__ import annotations

import contextlib
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SECONDS = 30
GATEWAY = [sys.executable, "-m", "src.core.cli"]
"""The documented command; it runs in the checkout."""
_PORT = re.compile(r"http://127\.0\.0\.1:([1-9]\d*)")


@dataclass(frozen=True)
class Started:
    """A gateway that listens: what it printed, and its ports, the dedicated one last."""

    banner: str
    ports: tuple[int, ...]

    @property
    def port(self) -> int:
        return self.ports[0]


def environment(home: Path, **more: str) -> dict[str, str]:
    """Nothing of the caller's environment but where programs are found."""
    return {"PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8", **more}


@contextlib.contextmanager
def gateway(
    command: Sequence[str], env: dict[str, str], cwd: Path = ROOT, until: str = "curl "
) -> Iterator[Started]:
    """Run a command that serves until the block ends. ``until`` stands in its banner's last line."""
    process = subprocess.Popen(
        command,
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        banner = _lines(process, until)
        lines = re.findall(r"(?m)^ +Anthropic +http.*$", banner)
        ports = dict.fromkeys(int(port) for port in _PORT.findall("".join(lines)))
        yield Started(banner, tuple(ports))
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(SECONDS)
        finally:
            process.kill()
            process.communicate()


def _lines(process: subprocess.Popen[str], until: str) -> str:
    """What a process prints up to the line that holds ``until``."""
    lines: queue.Queue[str] = queue.Queue()
    assert process.stdout is not None
    reader = threading.Thread(target=_copy, args=(process, lines), daemon=True)
    reader.start()
    text, deadline = "", time.monotonic() + SECONDS
    while until not in text:
        try:
            line = lines.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            raise AssertionError(f"nothing more came after:\n{text}") from None
        assert line, f"it ended after:\n{text}"
        text += line
    return text


def _copy(process: subprocess.Popen[str], lines: queue.Queue[str]) -> None:
    assert process.stdout is not None
    for line in iter(process.stdout.readline, ""):
        lines.put(line)
    lines.put("")
