"""Every recorded request to the real provider is accepted or refused by the simulator as the provider did."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from isthmus.simulator import Options, Simulator

from .simulator_client import post

FOLDER = Path(__file__).resolve().parents[2] / "shared" / "recorded" / "anthropic"
FILES = sorted(FOLDER.glob("*.json")) if FOLDER.is_dir() else []

pytestmark = pytest.mark.skipif(
    not FILES, reason="the recorded exchanges are not beside this checkout"
)

# The recordings have no headers: the beta that a text in the body needs.
NEEDED_BETAS = {
    '"mcp_servers"': "mcp-client-2025-04-04",
    '"advisor_20260301"': "advisor-tool-2026-03-01",
    '"task_budget"': "task-budgets-2026-03-13",
    '"compact_20260112"': "compact-2026-01-12",
    '"tool_addition"': "mid-conversation-tool-changes-2026-07-01",
}


def headers_for(body: dict[str, Any]) -> dict[str, str]:
    text = json.dumps(body)
    betas = [beta for mark, beta in NEEDED_BETAS.items() if mark in text]
    return {"anthropic-beta": ",".join(betas)} if betas else {}


def load(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def replay(exchanges: list[dict[str, Any]], extra: bool = True) -> list[tuple[int, bytes]]:
    async def run() -> list[tuple[int, bytes]]:
        simulator = Simulator(Options(trust_foreign_signatures=True))
        await simulator.start()
        try:
            answers = []
            for exchange in exchanges:
                request = exchange["request"]
                target = "/" + request["url"].split("/", 3)[3]
                body = request["body"]
                headers = headers_for(body) if extra else {}
                answer = await post(simulator, target, body, headers)
                answers.append((answer.status, answer.body))
            return answers
        finally:
            await simulator.stop()

    return asyncio.run(run())


def test_the_status_is_the_providers() -> None:
    exchanges = [load(path) for path in FILES]
    answers = replay(exchanges)
    wrong = [
        (path.name, answer[0], answer[1][:300])
        for path, exchange, answer in zip(FILES, exchanges, answers, strict=True)
        if answer[0] != exchange["response"]["status"]
    ]
    assert wrong == []
    assert len(answers) == len(FILES) > 100


def test_refusals_have_the_providers_words() -> None:
    exchanges = [item for item in map(load, FILES) if item["response"]["status"] >= 400]
    assert exchanges
    for exchange, (status, body) in zip(exchanges, replay(exchanges), strict=True):
        theirs = exchange["response"]["body"]
        ours = json.loads(body)
        assert (status, ours["error"]) == (exchange["response"]["status"], theirs["error"])
        assert set(ours) == set(theirs)


def test_beta_fields_are_unknown_without_their_beta() -> None:
    exchanges = [item for item in map(load, FILES) if headers_for(item["request"]["body"])]
    assert exchanges
    for exchange, (status, body) in zip(exchanges, replay(exchanges, extra=False), strict=True):
        message = json.loads(body)["error"]["message"]
        assert status == 400, exchange["source"]
        assert "Extra inputs are not permitted" in message or "Input tag" in message


def test_answers_have_the_members_that_the_providers_have() -> None:
    exchanges = [
        item
        for item in map(load, FILES)
        if item["response"]["status"] == 200 and isinstance(item["response"]["body"], dict)
    ]
    compared = 0
    for exchange, (_, body) in zip(exchanges, replay(exchanges), strict=True):
        ours, theirs = json.loads(body), exchange["response"]["body"]
        if theirs.get("type") != "message":
            assert set(ours) == set(theirs) == {"input_tokens"}
            continue
        compared += 1
        # Members that depend on what was answered, or that came only with a model or a beta.
        situational = {"container", "context_management", "stop_details"}
        assert set(theirs) - situational <= set(ours)
        situational = {"server_tool_use", "iterations"}
        assert set(theirs["usage"]) - situational <= set(ours["usage"])
        assert ours["model"] == theirs["model"]
    assert compared > 80
