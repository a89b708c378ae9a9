"""Explaining a request: the provider's very bytes and every note, and nothing goes out."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from isthmus.cli import app
from isthmus.explain import Way, document
from isthmus.plan import Plan
from isthmus.request import HttpRequest, Notes, Target
from tests.harness import UPSTREAM_KEY, VERSION, World, error_message, message
from tests.printed import FENCE
from tests.test_plan import LOSSY, NOTED, PATHS

PAGE = Path(__file__).resolve().parents[1] / "docs" / "notes.md"
QUERY = {
    "anthropic": "dialect=anthropic",
    "openai-chat": "dialect=openai-chat",
    "openai-responses": "dialect=openai-responses",
    "gemini": "dialect=gemini&model=claude-sonnet-4-5",
}
HELLO = {"contents": [{"parts": [{"text": "Hello"}]}]}


def embedded(explained: bytes) -> bytes:
    """The body of a document as its bytes, which stand on the last line but one."""
    return explained.rsplit(b'\n"body": ', 1)[1].removesuffix(b"\n}\n")


@pytest.mark.parametrize("dialect", LOSSY)
def test_it_tells_what_the_real_attempt_does(world: World, dialect: str) -> None:
    body = LOSSY[dialect]
    reply = world.post(f"/explain?{QUERY[dialect]}", body, **VERSION)
    assert reply.status == 200
    assert world.received() == []
    told = reply.json()
    answered = world.post(PATHS[dialect], body, **VERSION)
    [got] = world.received()
    assert embedded(reply.body) == got.body
    assert (told["method"], told["path"]) == ("POST", got.path)
    sent = [(k, v.replace(UPSTREAM_KEY, "****")) for k, v in got.headers]
    assert {tuple(row) for row in told["headers"]} <= set(sent)
    notes = [f"{n['path']} {n['action']}: {n['reason']}" for n in told["notes"]]
    assert notes == NOTED[dialect]
    assert reply.headers["x-isthmus-notes"] == answered.headers["x-isthmus-notes"]
    assert f"{told['backend']}:{told['model']}" == answered.headers["x-isthmus-target"]
    assert told["refusal"] is None
    assert UPSTREAM_KEY.encode() not in reply.body
    assert UPSTREAM_KEY[-4:].encode() not in reply.body


def test_the_native_lane_is_shown_byte_for_byte(world: World) -> None:
    body = (
        b'{ "zeta":[1.0,1e2, -0.0],\n"max_tokens":16,"messages":[{"role":"user","content":'
        b'"\\u00e9\\ud83d"}],"model":"claude-sonnet-4-5" } '
    )
    query = "dialect=anthropic&beta=true&x=%20y&key=abc&operation=messages"
    reply = world.post(f"/explain?{query}", body, **VERSION)
    assert embedded(reply.body) == body
    assert reply.json()["path"] == "/v1/messages?beta=true&x=%20y"
    assert reply.json()["notes"] == []


def test_a_strict_request_is_told_its_refusal(world: World) -> None:
    query = f"/explain?{QUERY['openai-chat']}"
    told = world.post(query, LOSSY["openai-chat"], x_isthmus_strict="true").json()
    assert told["refusal"].startswith("strict: ")
    refused = world.post(PATHS["openai-chat"], LOSSY["openai-chat"], x_isthmus_strict="true")
    assert told["refusal"] == refused.json()["error"]["message"]


def test_counting_is_explained_too(world: World) -> None:
    query = "dialect=gemini&model=models%2Fclaude-sonnet-4-5&operation=count_tokens"
    told = world.post(f"/explain?{query}", HELLO).json()
    assert told["path"] == "/v1/messages/count_tokens"
    assert set(told["body"]) == {"model", "messages"}
    told = world.post("/explain", message(), x_isthmus_dialect="anthropic", **VERSION).json()
    assert told["path"] == "/v1/messages"


BAD: list[tuple[str, Any, dict[str, str], str, str]] = [
    ("", {}, {}, "openai-chat", "dialect: expected one of anthropic, gemini, openai-chat"),
    ("", {}, VERSION, "anthropic", "dialect: expected one of"),
    ("dialect=grpc", {}, {}, "openai-chat", "dialect: expected one of"),
    (
        "dialect=gemini",
        {},
        {"x_isthmus_dialect": "anthropic"},
        "openai-chat",
        "dialect: expected one, got anthropic and gemini",
    ),
    ("dialect=gemini", HELLO, {}, "gemini", "model: needed"),
    ("dialect=anthropic&model=x", {}, {}, "anthropic", "model: a request of this dialect names"),
    ("dialect=anthropic&operation=x", {}, {}, "anthropic", "operation: expected one of messages"),
    (
        "dialect=openai-chat&operation=count_tokens",
        {},
        {},
        "openai-chat",
        "operation: openai-chat has no count_tokens",
    ),
    ("dialect=anthropic", {}, {}, "anthropic", "model: Field required"),
    ("dialect=gem%69ni&model=m", b"{", {}, "gemini", "the body is not valid JSON"),
    (
        "dialect=openai-chat",
        {"model": "m", "n": 2, "messages": [{"role": "user", "content": "a"}]},
        {},
        "openai-chat",
        "n: only one choice",
    ),
]


@pytest.mark.parametrize(("query", "body", "headers", "dialect", "said"), BAD)
def test_what_cannot_be_explained_is_refused_in_its_dialect(
    world: World, query: str, body: Any, headers: dict[str, str], dialect: str, said: str
) -> None:
    reply = world.post(f"/explain?{query}", body, **headers)
    assert reply.status == 400
    assert error_message(dialect, reply).startswith(said)


def test_only_the_main_port_explains_and_only_a_post(world: World) -> None:
    path = "/explain?dialect=anthropic"
    reply = world.post(path, message(), port=world.anthropic_port, **VERSION)
    assert reply.status == 404
    reply = world.get(path)
    assert (reply.status, "only POST" in error_message("openai-chat", reply)) == (405, True)


def test_it_needs_a_key_where_there_are_keys() -> None:
    world = World(auth={"keys": ["a-client-key"]})
    try:
        path = "/explain?dialect=anthropic"
        assert world.post(path, message()).status == 401
        reply = world.post(path, message(), x_api_key="a-client-key", **VERSION)
        assert reply.status == 200
        assert b"a-client-key" not in reply.body
    finally:
        world.close()


def test_a_body_that_is_no_json_is_shown_as_text() -> None:
    for body in (b"\xff{", b"", b"[" * 100_000):
        http = HttpRequest("POST", "/x", "", (("authorization", "Bearer secret-key"),), body)
        told = json.loads(
            document(
                Plan(Target("b", "m"), http, Notes(), strict=True), "secret-key", Way(None, [], [])
            )
        )
        assert told["body"] == body.decode("utf-8", "replace")
        assert told["headers"] == [["authorization", "Bearer ****"]]
        assert told["refusal"] is None


# --- the command line ---------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith(("ISTHMUS_", "ANTHROPIC_")):
            monkeypatch.delenv(name)
    return tmp_path


def explained(*arguments: str, typed: bytes = b"") -> Result:
    return CliRunner().invoke(app, ("explain", *arguments), input=typed, prog_name="isthmus")


def test_four_notes_and_the_output_that_the_docs_print(folder: Path) -> None:
    blocks = FENCE.findall(PAGE.read_text("utf-8"))
    [request] = [body for language, body in blocks if language == "json"]
    printed = [body for language, body in blocks if language == "text"][-1]
    Path("request.json").write_text(request)
    result = explained("request.json", "--dialect", "openai-chat")
    assert result.exit_code == 0, result.stderr
    assert result.stdout == printed
    notes = {note["path"]: note for note in json.loads(result.stdout)["notes"]}
    assert {path: note["action"] for path, note in notes.items()} == {
        "seed": "dropped",
        "logit_bias": "dropped",
        "reasoning_effort": "changed",
        "tool_choice": "changed",
    }
    assert all(note["reason"] for note in notes.values())
    assert re.search("claude-opus-5-5.*forced.*auto", notes["tool_choice"]["reason"])


def test_the_command_reads_standard_input_and_the_config(folder: Path) -> None:
    Path("own.yaml").write_text(
        "strict: true\nbackends: {a: {type: anthropic, api_key: sk-secret-canary}}\n"
        "force_model: claude-haiku-4-5\n"
    )
    arguments = ("-", "--dialect", "gemini", "--model", "m", "--config", "own.yaml")
    body = json.dumps({**HELLO, "labels": {"a": "b"}}).encode()
    result = explained(*arguments, typed=body)
    told = json.loads(result.stdout)
    assert (told["backend"], told["model"]) == ("a", "claude-haiku-4-5")
    assert told["refusal"] == (
        "strict: the request cannot be sent as it is: labels dropped: they are for Google's bills"
    )
    assert "canary" not in result.output


def test_the_commands_mistakes(folder: Path) -> None:
    Path("bad.json").write_text("[]")
    for arguments, said in (
        (("bad.json", "--dialect", "openai-chat"), "the body"),
        (("bad.json", "--dialect", "morse"), "dialect: expected one of"),
        (("none.json", "--dialect", "gemini"), "none.json"),
        (("bad.json",), "--dialect"),
        (("bad.json", "--dialect", "gemini", "--config", "none.yaml"), "none.yaml"),
    ):
        result = explained(*arguments)
        assert result.exit_code == 2, arguments
        assert said in result.stderr
        assert result.stdout == ""
