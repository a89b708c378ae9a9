"""The real Claude Code, headless, through the gateway: a task with a tool call, to its end.

A complete run writes docs/clients/claude-code.md anew: what this version of Claude Code sends.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from isthmus.simulator import Options
from tests.clients.log import written
from tests.clients.relay import Exchange, Relay
from tests.harness import UPSTREAM_KEY, World
from tests.processes import GATEWAY, ROOT, environment, gateway
from tests.staged import eventually

CLAUDE = ROOT / "tests" / "clients" / "node_modules" / ".bin" / "claude"
LOG = ROOT / "docs" / "clients" / "claude-code.md"
SECONDS = 120
QUIET = {
    "DISABLE_AUTOUPDATER": "1",
    "DISABLE_TELEMETRY": "1",
    "DISABLE_ERROR_REPORTING": "1",
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    "CLAUDE_CODE_MAX_RETRIES": "1",
    "IS_SANDBOX": "1",  # or root may not skip the permission prompts
}
CLIENT_KEY = "client-canary-0815"
KEYS = {"keys": [CLIENT_KEY]}

pytestmark = pytest.mark.timeout(2 * SECONDS)


def claude(home: Path, prompt: str, *arguments: str, **env: str) -> dict[str, Any]:
    """Run one headless session in ``home``/task and give its closing report."""
    task = home / "task"
    task.mkdir(exist_ok=True)
    process = subprocess.Popen(
        [CLAUDE, "-p", prompt, "--output-format", "json", *arguments],
        cwd=task,
        env=environment(home, **QUIET, TMPDIR=str(home), **env),
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
    report = json.loads(out)
    assert not report["is_error"], report
    return report


def calls(tool: str, **values: str) -> str:
    """A prompt that has the simulator call a tool; the turn after it has a plain answer."""
    script = {
        "blocks": [
            {"type": "thinking", "thinking": "I should make it with a tool."},
            {"type": "text", "text": "I do that now."},
            {"type": "tool_use", "name": tool, "input": values},
        ]
    }
    return f"Please make the file. [[sim:{json.dumps(script)}]]"


BASH = calls("Bash", command="printf canary-7 > made.txt; echo said-7", description="Make it")


@pytest.fixture(scope="module")
def log() -> Iterator[dict[str, list[Exchange]]]:
    """The exchanges of each scenario; written down where every scenario came to its end."""
    exchanges: dict[str, list[Exchange]] = {}
    yield exchanges
    if list(exchanges) == list(SCENARIOS):
        LOG.parent.mkdir(exist_ok=True)
        LOG.write_text(written("# What Claude Code sends", SCENARIOS, exchanges))


SCENARIOS = {
    "prefix": "`ANTHROPIC_BASE_URL` ends in `/anthropic`, the key is in `ANTHROPIC_API_KEY`",
    "port": "The dedicated port, the key is in `ANTHROPIC_AUTH_TOKEN`",
    "forced": "`--force-model claude-sonnet-5-5`, and the client asks for `claude-sonnet-4-5`",
    "context": "`/context`, which counts tokens",
}


def answered(exchanges: list[Exchange]) -> list[Exchange]:
    return [e for e in exchanges if e.status == 200 and "/v1/messages?" in e.request]


def last_results(world: World) -> list[Any]:
    """The tool results in the last request that reached the provider."""
    content = json.loads(world.received()[-1].body)["messages"]
    blocks = [
        block for turn in content if isinstance(turn["content"], list) for block in turn["content"]
    ]
    return [block for block in blocks if block["type"] == "tool_result"]


def test_through_the_prefix(tmp_path: Path, log: dict[str, list[Exchange]]) -> None:
    world = World(auth=KEYS)
    relay = Relay(world.port)
    try:
        url = f"{relay.url}/anthropic"
        report = claude(
            *(tmp_path, BASH, "--dangerously-skip-permissions"),
            ANTHROPIC_BASE_URL=url,
            ANTHROPIC_API_KEY=CLIENT_KEY,
        )
        assert (tmp_path / "task" / "made.txt").read_text() == "canary-7"
        assert "The tool returned" in report["result"]
        assert "said-7" in report["result"]
        [result] = last_results(world)
        assert "said-7" in json.dumps(result)
        for received in world.received():
            headers = dict(received.headers)
            assert (headers["x-api-key"], headers["anthropic-version"]) == (
                UPSTREAM_KEY,
                "2023-06-01",
            )
            assert CLIENT_KEY not in json.dumps(headers)
            assert (received.path, received.query) == ("/v1/messages", "beta=true")
        assert len(answered(relay.exchanges)) == 2
        log["prefix"] = relay.exchanges
    finally:
        relay.close()
        world.close()


def test_through_the_port_of_its_own(tmp_path: Path, log: dict[str, list[Exchange]]) -> None:
    world = World(auth=KEYS)
    relay = Relay(world.anthropic_port)
    try:
        made = tmp_path / "task" / "written.txt"
        report = claude(
            *(tmp_path, calls("Write", file_path=str(made), content="canary-8\n")),
            "--dangerously-skip-permissions",
            ANTHROPIC_BASE_URL=relay.url,
            ANTHROPIC_AUTH_TOKEN=CLIENT_KEY,
        )
        assert made.read_text() == "canary-8\n"
        assert "The tool returned" in report["result"]
        [result] = last_results(world)
        assert "is_error" not in result or not result["is_error"]
        assert all(CLIENT_KEY not in json.dumps(dict(r.headers)) for r in world.received())
        assert len(answered(relay.exchanges)) == 2
        log["port"] = relay.exchanges
    finally:
        relay.close()
        world.close()


def test_an_older_model_where_another_is_forced(
    tmp_path: Path, log: dict[str, list[Exchange]]
) -> None:
    world = World()
    config = tmp_path / "gateway.yaml"
    config.write_text(
        "port: 0\nbackends:\n  anthropic:\n    type: anthropic\n"
        f"    base_url: {world.simulator.url}\n"
    )
    command = [
        *(*GATEWAY, "--default-backend", "anthropic", "--force-model", "claude-sonnet-5-5"),
        *("--config", str(config)),
    ]
    env = environment(tmp_path, ANTHROPIC_API_KEY=UPSTREAM_KEY)
    try:
        with gateway(command, env) as started:
            assert "every request is answered by claude-sonnet-5-5" in started.banner
            relay = Relay(started.port)
            try:
                report = claude(
                    *(tmp_path, BASH, "--dangerously-skip-permissions"),
                    ANTHROPIC_BASE_URL=f"{relay.url}/anthropic",
                    ANTHROPIC_API_KEY="placeholder",
                    ANTHROPIC_MODEL="claude-sonnet-4-5",
                )
            finally:
                relay.close()
        assert (tmp_path / "task" / "made.txt").read_text() == "canary-7"
        assert "said-7" in report["result"]
        for exchange in answered(relay.exchanges):
            assert exchange.shape is not None
            assert exchange.shape["model"] == "claude-sonnet-4-5"
            assert exchange.shape["thinking"]["type"] == "enabled"
            assert "thinking changed" in exchange.answer["x-isthmus-notes"]
            assert exchange.answer["x-isthmus-target"] == "anthropic:claude-sonnet-5-5"
        sent = [json.loads(received.body) for received in world.received()]
        assert {body["model"] for body in sent} == {"claude-sonnet-5-5"}
        assert {body["thinking"]["type"] for body in sent} == {"adaptive"}
        log["forced"] = relay.exchanges
    finally:
        world.close()


def test_counting_tokens(tmp_path: Path, log: dict[str, list[Exchange]]) -> None:
    world = World()
    relay, dead = Relay(world.port), Relay(world.port)
    try:
        report = claude(
            *(tmp_path, "/context"),
            ANTHROPIC_BASE_URL=f"{relay.url}/anthropic",
            ANTHROPIC_API_URL=f"{dead.url}/anthropic",  # as older pages say: nobody reads it
            ANTHROPIC_API_KEY="placeholder",
        )
        assert not dead.exchanges
        assert "Context" in report["result"]
        assert relay.exchanges
        assert {exchange.status for exchange in relay.exchanges} == {200}
        log["context"] = relay.exchanges
    finally:
        relay.close()
        dead.close()
        world.close()


SLOW = calls("Bash", command="sleep 3; echo said-9", description="Wait")


def test_a_session_whose_key_is_cooled_in_its_middle(tmp_path: Path) -> None:
    """It goes on with another account, whose cache it then finds, and sees nothing of it."""
    keys = tuple(f"sk-account-{number}-{'x' * 20}" for number in range(2))
    backend = {"models": [], "api_key": None, "api_keys": list(keys)}
    world = World(Options(api_keys=keys, organization_per_key=True), backend=backend)
    relay = Relay(world.port)

    def run(prompt: str, *arguments: str) -> dict[str, Any]:
        return claude(
            *(tmp_path, prompt, "--dangerously-skip-permissions", *arguments),
            ANTHROPIC_BASE_URL=f"{relay.url}/anthropic",
            ANTHROPIC_API_KEY="placeholder",
        )

    def used() -> list[str]:
        return [dict(received.headers)["x-api-key"] for received in world.received()]

    try:
        session = run("Hello.")["session_id"]
        before = len(used())
        with ThreadPoolExecutor(1) as threads:
            running = threads.submit(run, SLOW, "--resume", session)
            assert eventually(lambda: len(used()) > before, SECONDS)
            world.script(error={"status": 429, "retry_after": 300})
            report = running.result()
        assert "said-9" in report["result"]
        assert report["usage"]["cache_read_input_tokens"] > 0, "in its first turn"
        first, *_, limited, second = used()
        assert first == limited != second
        moved = answered(relay.exchanges)[-1].answer
        assert " 429 rate_limit; " in moved["x-isthmus-attempts"]
        assert "the conversation moved to another key" in moved["x-isthmus-notes"]
        report = run("Thank you.", "--resume", session)
        assert report["usage"]["cache_read_input_tokens"] > 0, "what the other account has cached"
        assert used()[-1] == second
        assert "x-isthmus-notes" not in answered(relay.exchanges)[-1].answer
    finally:
        relay.close()
        world.close()
