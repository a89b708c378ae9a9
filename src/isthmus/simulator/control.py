"""The control endpoint under `/sim`: scripts, recorded requests, state, reset."""

from __future__ import annotations

from collections import deque
from dataclasses import asdict
from typing import Any

from .errors import Refusal
from .options import Received
from .reply import Reply, json_reply
from .request import parse_json_value
from .script import Script, parse_script
from .send import Counters

PREFIX = "/sim"


class Control:
    """Answers `/sim/...` over the lists that the simulator shares with its owner."""

    def __init__(
        self, scripts: deque[dict[str, Any]], requests: list[Received], counters: Counters
    ) -> None:
        self.scripts = scripts
        self.requests = requests
        self.counters = counters

    def answer(self, method: str, path: str, body: bytes) -> Reply:
        """The reply to one control request."""
        steps = path.strip("/").split("/")[1:]
        if not steps and method == "DELETE":
            self.reset()
            return json_reply({"reset": True})
        if steps == ["scripts"] and method == "POST":
            return self.add_scripts(body)
        if steps == ["scripts"] and method == "GET":
            return json_reply(list(self.scripts))
        if steps == ["state"] and method == "GET":
            return json_reply(asdict(self.counters))
        if steps[:1] == ["requests"] and method == "GET":
            return self.recorded(steps[1:])
        raise Refusal(f"no such control endpoint: {method} {path}", status=404)

    def add_scripts(self, body: bytes) -> Reply:
        """Append one script or a list of them, all checked before any is taken."""
        value = parse_json_value(body)
        scripts = value if isinstance(value, list) else [value]
        for script in scripts:
            parse_script(script)
        self.scripts.extend(scripts)
        return json_reply({"scripts": len(self.scripts)})

    def recorded(self, steps: list[str]) -> Reply:
        """All requests as JSON, or the bytes of one body."""
        if not steps:
            return json_reply([listed(index, item) for index, item in enumerate(self.requests)])
        if (
            len(steps) == 2
            and steps[1] == "body"
            and steps[0].isdigit()
            and int(steps[0]) < len(self.requests)
        ):
            body = self.requests[int(steps[0])].body
            return Reply(body=body, content_type="application/octet-stream")
        raise Refusal("no such recorded request", status=404)

    def reset(self) -> None:
        """Forget scripts and requests."""
        self.scripts.clear()
        self.requests.clear()
        self.counters.aborted_by_client = 0


def listed(index: int, item: Received) -> dict[str, Any]:
    """A recorded request as JSON."""
    return {
        "index": index,
        "method": item.method,
        "path": item.path,
        "query": item.query,
        "headers": [list(pair) for pair in item.headers],
        "body": item.body.decode("utf-8", "replace"),
        "at": item.at,
    }


def take_script(scripts: deque[dict[str, Any]]) -> Script | None:
    """The next waiting script, if there is one."""
    return parse_script(scripts.popleft()) if scripts else None
