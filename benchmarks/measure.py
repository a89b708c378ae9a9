"""What processes use, read from /proc: CPU time, resident memory, descriptors. Linux only."""

from __future__ import annotations

import contextlib
import os
import platform
import re
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")
_GONE = (FileNotFoundError, ProcessLookupError)


def tree(root: int) -> list[int]:
    """A process and all its descendants, as far as they live."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(*_GONE):
                parent = int(_stat(int(entry.name))[1])
                children.setdefault(parent, []).append(int(entry.name))
    found = [root]
    for pid in found:
        found += children.get(pid, [])
    return found


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat behind the name: state, parent, ... (proc(5))."""
    text = Path(f"/proc/{pid}/stat").read_text()
    return text[text.rindex(")") + 2 :].split()


def cpu_seconds(root: int) -> float:
    """User and system time of the process tree, children that have ended included.

    The scheduler's count of nanoseconds where there is one: the same sum, finer than a tick of
    10 ms. It forgets threads that have ended, then the ticks are more.
    """
    total = 0.0
    for pid in tree(root):
        with contextlib.suppress(*_GONE):
            fields = _stat(pid)
            user, system, user_of_children, system_of_children = map(int, fields[11:15])
            ended = (user_of_children + system_of_children) / _TICK
            total += max((user + system) / _TICK, _scheduled(pid)) + ended
    return total


def _scheduled(pid: int) -> float:
    nanoseconds = 0
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(*_GONE):
            nanoseconds += int((thread / "schedstat").read_text().split()[0])
    return nanoseconds / 1e9


def busy_seconds() -> float:
    """CPU time of all programs of the machine since it started, time given to others of its host too."""
    fields = [int(text) for text in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    user, nice, system, _, _, interrupts, soft, stolen = fields
    return (user + nice + system + interrupts + soft + stolen) / _TICK


def own_seconds() -> float:
    """CPU time of this process and of those of its descendants that have ended."""
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


def resident(root: int) -> int:
    """Bytes of the process tree in memory; what its processes share is counted for each."""
    total = 0
    for pid in tree(root):
        with contextlib.suppress(*_GONE, PermissionError):
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
            found = re.search(r"(?m)^Rss:\s+(\d+) kB", text)
            total += int(found[1]) * 1024 if found else 0
    return total


def descriptors(root: int) -> int:
    """Open file descriptors of the process tree."""
    total = 0
    for pid in tree(root):
        with contextlib.suppress(*_GONE, PermissionError):
            total += sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
    return total


def machine() -> str:
    """The machine in general words: cores, processor, kernel, Python."""
    kernel = re.match(r"\d+\.\d+", platform.release())
    found = re.search(r"(?m)^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return ", ".join(
        [
            f"{len(os.sched_getaffinity(0))} cores ({found[1] if found else platform.machine()})",
            f"{memory:.0f} GiB of memory",
            f"{platform.system()} {kernel[0] if kernel else platform.release()}",
            f"Python {platform.python_version()}",
        ]
    )
