"""The seed page and our own pages as printed: each curl, command, config and client line is run.

Only ports and keys are put in place, and ``ANTHROPIC_BASE_URL`` for the seed's
``ANTHROPIC_API_URL``, which today's Claude Code does not read.
"""

from __future__ import annotations

import http.client
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from anthropic import Anthropic
from google import genai
from openai import OpenAI

from isthmus.config import ConfigErrors, load
from isthmus.simulator import Options, Simulator
from tests import legality, printed
from tests.harness import UPSTREAM_KEY, VERSION, Loop, Reply, World, message, whole_stream
from tests.printed import Curl
from tests.processes import ROOT, SECONDS, Started, environment, gateway

CLIENT_KEY = "client-canary-0815"
PLACEHOLDER = "YOUR_PROXY_KEY"
READ_BY_NO_CLIENT = "ANTHROPIC_API_URL"
HELLO = "Greetings from a test"


def pages() -> list[tuple[str, str]]:
    """Every page with its name; the seed's only where it is present."""
    ours = [(page.relative_to(ROOT).as_posix(), page.read_text("utf-8")) for page in printed.DOCS]
    return [*([("seed", printed.seed())] if printed.SEED else []), *ours]


def each(kind: str, values: list[tuple[str, Any]]) -> Any:
    """A parameter list with the page and a number as the id of each case."""
    names = [name for name, _ in values]
    ids = [f"{name}-{names[: n + 1].count(name)}" for n, name in enumerate(names)]
    return pytest.mark.parametrize(kind, [value for _, value in values], ids=ids)


CURLS = [(name, curl) for name, text in pages() for curl in printed.curls(text)]
TO_GATEWAY = [row for row in CURLS if row[1].port in (8000, 8001)]
TO_SIMULATOR = [row for row in CURLS if row not in TO_GATEWAY]
COMMANDS = [
    list(words)
    for words in dict.fromkeys(tuple(w) for _, text in pages() for w in printed.commands(text))
]
CONFIGS = [(name, config) for name, text in pages() for config in printed.configs(text)]


@pytest.fixture(scope="module")
def locked() -> Iterator[World]:
    """A gateway that wants a client key."""
    world = World(auth={"keys": [CLIENT_KEY]})
    yield world
    world.close()


# --- curl ---------------------------------------------------------------------------------------


def sent(world: World, curl: Curl, key: str | None = None, *, stream: bool = False) -> Reply:
    """Send a printed request, streaming or not, with a key where the page says to put one."""
    headers = {
        name: value.replace(PLACEHOLDER, key or PLACEHOLDER) for name, value in curl.headers.items()
    }
    path, body = curl.path, curl.json()
    if ":generateContent" in path:
        path = (
            path.replace(":generateContent", ":streamGenerateContent?alt=sse") if stream else path
        )
    else:
        assert not body.get("stream") or stream
        body = {**body, "stream": True} if stream else body
    port = {8000: world.port, 8001: world.anthropic_port}[curl.port]
    host = f"{curl.host}:{port}"
    # Unchanged, the body goes out byte for byte as it is printed.
    data = curl.body if body == curl.json() else json.dumps(body).encode()
    return world.ask(curl.method, path, data, port, host=host, **headers)


def dialect(curl: Curl) -> str:
    if curl.path.endswith("/chat/completions"):
        return "openai-chat"
    if curl.path == "/v1/responses":
        return "openai-responses"
    return "gemini" if curl.path.startswith("/v1beta/") else "anthropic"


def whole_answer(kind: str, reply: Reply) -> Any:
    """The answer's text, or the name of the tool that it calls; its shape is checked."""
    assert reply.status == 200, reply.body
    assert reply.headers["content-type"] == "application/json"
    if kind == "openai-chat":
        return essence(kind, legality.chat_completion(reply.body))
    if kind == "openai-responses":
        return essence(kind, legality.whole_response(reply.body))
    if kind == "gemini":
        return essence(kind, legality.gemini_response(reply.body))
    value = reply.json()
    assert (value["type"], value["role"]) == ("message", "assistant")
    return essence(kind, value)


def essence(kind: str, value: Any) -> str:
    if kind == "openai-chat":
        said = value["choices"][0]["message"]
        calls = said.get("tool_calls") or []
        assert value["choices"][0]["finish_reason"] == ("tool_calls" if calls else "stop")
        return calls[0]["function"]["name"] if calls else said["content"]
    if kind == "openai-responses":
        return value["output"][-1]["content"][0]["text"]
    if kind == "gemini":
        return value["candidates"][0]["content"]["parts"][0]["text"]
    return value["content"][-1]["text"]


def expected(curl: Curl) -> str:
    """What the simulator answers: the tool that is offered, or the user's words."""
    body = curl.json()
    if "tools" in body:
        return body["tools"][0]["function"]["name"]
    if "contents" in body:
        return body["contents"][-1]["parts"][0]["text"]
    return body["input"] if "input" in body else body["messages"][-1]["content"]


def check_answered(world: World, curl: Curl, key: str | None) -> None:
    kind = dialect(curl)
    if curl.path.endswith("/count_tokens"):
        assert sent(world, curl, key).json()["input_tokens"] > 0
        return
    if curl.path.startswith("/explain"):
        assert sent(world, curl, key).json()["path"] == "/v1/messages"
        return
    if not curl.json().get("stream"):
        assert expected(curl) in whole_answer(kind, sent(world, curl, key))
    reply = sent(world, curl, key, stream=True)
    assert reply.headers["content-type"].startswith("text/event-stream")
    assert expected(curl) in essence(kind, whole_stream(kind, reply).message)
    received = world.received()[-1]
    assert dict(received.headers)["x-api-key"] == UPSTREAM_KEY
    asked = curl.json().get("model") or curl.path.split("/models/")[-1].split(":")[0]
    body = json.loads(received.body)
    assert body["model"] == asked.split("|")[0].split(":")[-1].split("?")[0]
    if "?temperature=" in asked:
        assert body["temperature"] == float(asked.split("=")[1])


@each("curl", TO_GATEWAY)
def test_a_printed_request_at_an_open_gateway(world: World, curl: Curl) -> None:
    check_answered(world, curl, None)


@each("curl", TO_GATEWAY)
def test_a_printed_request_at_a_gateway_with_keys(locked: World, curl: Curl) -> None:
    locked.simulator.reset()
    if PLACEHOLDER in json.dumps(curl.headers):
        assert sent(locked, curl, "wrong-key", stream=True).status == 401
        check_answered(locked, curl, CLIENT_KEY)
    else:  # printed without a key: for an open gateway
        assert sent(locked, curl, stream=True).status == 401
    assert PLACEHOLDER not in repr(locked.simulator.requests)
    assert CLIENT_KEY not in repr(locked.simulator.requests)


@each("curl", TO_SIMULATOR)
def test_a_printed_request_to_the_simulator(curl: Curl) -> None:
    loop, simulator = Loop(), Simulator(Options())
    loop.run(simulator.start())
    connection = http.client.HTTPConnection("127.0.0.1", simulator.port, timeout=SECONDS)
    try:
        connection.request(curl.method, curl.path, curl.body, curl.headers)
        answer = connection.getresponse()
        body = answer.read()
    finally:
        connection.close()
        loop.run(simulator.stop())
        loop.close()
    asked = re.search(r'"status": ?(\d+)', curl.body.decode().replace("\\", ""))
    assert answer.status == (int(asked[1]) if asked else 200), body


@pytest.mark.parametrize("page", printed.DOCS, ids=lambda page: page.name)
def test_no_printed_request_is_missed(page: Path) -> None:
    text = page.read_text("utf-8")
    assert len(printed.curls(text)) == len(re.findall(r"(?m)(?:^ *|\$ |`)curl [^`]", text))


@pytest.mark.skipif(not printed.SEED, reason="the seed page is not here")
def test_what_the_seed_page_prints() -> None:
    text = printed.seed()
    assert len(printed.curls(text)) == text.count("curl -X POST") == 6
    assert len(printed.commands(text)) == text.count("python -m") == 2
    assert len(printed.configs(text)) == text.count("# config.yaml") == 2
    assert {name for name, _ in printed.exports(text)} == {
        *("ANTHROPIC_API_KEY", "ANTHROPIC_PORT", READ_BY_NO_CLIENT)
    }


# --- configs ------------------------------------------------------------------------------------


@each("text", CONFIGS)
def test_a_printed_config_loads(tmp_path: Path, text: str) -> None:
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "second-key").write_text("sk-second\n")
    path = tmp_path / "config.yaml"
    path.write_text(text)
    names = re.findall(r"(?<!\$)\$\{([A-Z_]+)\}", text)
    variables = {name: f"{name.lower()}-for-a-test" for name in names}
    config = load(path, {"ANTHROPIC_API_KEY": "sk-test", **variables}, {}).config
    port = re.search(r"(?m)^anthropic_port: (\d+)", text)
    assert config.anthropic_port == (int(port[1]) if port else None)
    backend = re.search(r"(?m)^default_backend: (\w+)", text)
    assert config.default_backend == (backend[1] if backend else "anthropic")
    with pytest.raises(ConfigErrors, match=r"[kK]ey|KEY"):
        load(path, {}, {})


# --- commands -----------------------------------------------------------------------------------


@pytest.fixture
def home(tmp_path: Path, world: World) -> Path:
    """A folder with a config whose backend is the simulator, and with a Chat request."""
    (tmp_path / "request.json").write_text(json.dumps(message()))
    (tmp_path / "config.yaml").write_text(
        "backends:\n  anthropic:\n    type: anthropic\n"
        f"    base_url: {world.simulator.url}\ndefault_backend: anthropic\n"
    )
    return tmp_path


def runnable(words: list[str]) -> list[str]:
    """The command as printed, with our interpreter and free ports."""
    tail = words[1:]
    head = [sys.executable] if words[0] == "python" else [sys.executable, "-m", "isthmus"]
    for flag in ("--port", "--anthropic-port"):
        if flag in tail:
            tail[tail.index(flag) + 1] = "0"
    if tail[:1] == ["simulate"] and "--port" not in tail:
        tail += ["--port", "0"]
    if tail == ["explain"]:  # its name alone, in a heading or a sentence
        tail += ["request.json", "--dialect", "openai-chat"]
    return head + tail


def settings(home: Path) -> dict[str, str]:
    config = str(home / "config.yaml")
    return environment(
        home, ANTHROPIC_API_KEY=UPSTREAM_KEY, ISTHMUS_CONFIG=config, ISTHMUS_PORT="0"
    )


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_printed_command(home: Path, world: World, words: list[str]) -> None:
    command, env = runnable(words), settings(home)
    cwd = ROOT if words[0] == "python" else home
    if {"check", "explain", "--version"} & set(words):
        done = subprocess.run(
            command, cwd=cwd, env=env, check=False, capture_output=True, text=True, timeout=30
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout
        assert UPSTREAM_KEY not in done.stdout
    elif "simulate" in words:
        with gateway(command, env, cwd, until="base_url") as started:
            assert "made-up text" in started.banner
    else:
        with gateway(command, env, cwd) as started:
            check_serving(started, world, words)


def check_serving(started: Started, world: World, words: list[str]) -> None:
    """One request is answered, by the model that the command forces if it forces one."""
    reply = world.post("/v1/messages", message(HELLO), started.port, **VERSION)
    assert HELLO in whole_answer("anthropic", reply)
    got = json.loads(world.received()[-1].body)
    forced = words[words.index("--force-model") + 1] if "--force-model" in words else None
    assert got["model"] == (forced or message()["model"])
    [curl] = printed.curls(started.banner)
    pasted = world.ask(curl.method, curl.path, curl.body, curl.port, **curl.headers)
    assert whole_answer("anthropic", pasted)


@pytest.mark.parametrize("way", ["flag", "environment", "file"])
def test_each_way_to_open_the_port_of_its_own(home: Path, world: World, way: str) -> None:
    command, env = runnable(["isthmus", "serve"]), settings(home)
    config = home / "config.yaml"
    if way == "flag":
        command += ["--anthropic-port", "0"]
    elif way == "environment":
        env["ANTHROPIC_PORT"] = "0"
    else:
        config.write_text(config.read_text() + "anthropic_port: 0\n")
    with gateway(command, env, home) as started:
        main, dedicated = started.ports
        assert main != dedicated
        assert f"http://127.0.0.1:{dedicated}" in started.banner
        reply = world.post("/v1/messages", message(HELLO), dedicated, **VERSION)
        assert HELLO in whole_answer("anthropic", reply)
        assert world.post("/v1/chat/completions", {}, dedicated).status == 404
        assert world.post("/v1/chat/completions", {}, main).status == 400


def test_without_a_word_there_is_no_port_of_its_own(home: Path) -> None:
    with gateway(runnable(["isthmus"]), settings(home), home) as started:
        assert len(started.ports) == 1


def up_to_date() -> bool:
    """Whether `make run` would only start what is set up, and this is the environment it uses."""
    if shutil.which("make") is None or not sys.prefix.startswith(str(ROOT)):
        return False
    command = ["make", "-C", str(ROOT), "-q", "setup"]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


@pytest.mark.skipif(not up_to_date(), reason="the environment of this checkout is not set up")
def test_make_run_says_that_answers_are_made_up(tmp_path: Path, world: World) -> None:
    command = ["make", "--no-print-directory", "run", "ARGS=--port 0"]
    with gateway(command, environment(tmp_path)) as started:
        first = started.banner.splitlines()[0]
        assert "ANTHROPIC_API_KEY is not set" in first
        assert "simulator answers, not a model" in first
        for name in ("Anthropic", "OpenAI", "Gemini"):
            assert re.search(rf"(?m)^ +{name} +http://127\.0\.0\.1:\d+", started.banner)
        [curl] = printed.curls(started.banner)
        pasted = world.ask(curl.method, curl.path, curl.body, curl.port, **curl.headers)
        assert "(simulated)" in whole_answer("anthropic", pasted)
        # The pages' own examples work there too, with the backend that they name.
        chat = {"model": "anthropic:claude-sonnet-4-6?temperature=0.7"}
        chat["messages"] = [{"role": "user", "content": HELLO}]
        assert HELLO in whole_answer(
            "openai-chat", world.post("/v1/chat/completions", chat, started.port)
        )


# --- clients ------------------------------------------------------------------------------------


def client_urls() -> list[tuple[str, str]]:
    """The addresses that a page has Claude Code use, by either variable."""
    return [
        (page, value)
        for page, text in pages()
        for name, value in printed.exports(text)
        if name in ("ANTHROPIC_BASE_URL", READ_BY_NO_CLIENT)
    ]


def test_no_page_of_ours_sets_the_dead_variable() -> None:
    for name, text in pages():
        if name != "seed":
            assert READ_BY_NO_CLIENT not in dict(printed.exports(text)), name
    readme = (ROOT / "README.md").read_text()
    assert re.search(rf"{READ_BY_NO_CLIENT}`\. .*does not read\s+it", readme, re.DOTALL)


@each("url", client_urls())
def test_the_addresses_for_claude_code(
    locked: World, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The SDK stands in for Claude Code, which tests/clients drives."""
    port = locked.anthropic_port if ":8001" in url else locked.port
    monkeypatch.setenv("ANTHROPIC_BASE_URL", re.sub(r":\d+", f":{port}", url))
    monkeypatch.setenv("ANTHROPIC_API_KEY", CLIENT_KEY)
    with Anthropic() as client:
        answer = client.messages.create(
            model="claude-sonnet-5-5", max_tokens=100, messages=[{"role": "user", "content": HELLO}]
        )
    assert HELLO in answer.content[-1].text


CLIENTS = dict(printed.table((ROOT / "README.md").read_text(), "Client"))
SDKS: dict[str, tuple[Any, Any]] = {
    "anthropic SDK": (
        {"Anthropic": Anthropic},
        lambda client: (
            client.messages.create(
                model="claude-sonnet-5-5",
                max_tokens=100,
                messages=[{"role": "user", "content": HELLO}],
            )
            .content[-1]
            .text
        ),
    ),
    "openai SDK (Chat Completions)": (
        {"OpenAI": OpenAI},
        lambda client: (
            client.chat.completions.create(
                model="claude-sonnet-5-5", messages=[{"role": "user", "content": HELLO}]
            )
            .choices[0]
            .message.content
        ),
    ),
    "openai SDK (Responses)": (
        {"OpenAI": OpenAI},
        lambda client: client.responses.create(model="claude-sonnet-5-5", input=HELLO).output_text,
    ),
    "google-genai SDK": (
        {"genai": genai},
        lambda client: (
            client.models.generate_content(model="claude-sonnet-5-5", contents=HELLO).text
        ),
    ),
}


@pytest.mark.parametrize("name", SDKS)
def test_the_readme_s_lines_for_sdks(world: World, name: str) -> None:
    names, ask = SDKS[name]
    line = CLIENTS[name].replace("127.0.0.1:8000", f"127.0.0.1:{world.port}")
    client = eval(line, names)  # the line as a reader pastes it
    try:
        assert HELLO in ask(client)
    finally:
        client.close()


ENTRANCES = {"/anthropic": "/v1/messages", "/v1": "/chat/completions", "": "/v1beta/models"}
"""What a client appends to the base URL that it is given."""


@pytest.mark.parametrize("name", [name for name in CLIENTS if "http" in CLIENTS[name]])
def test_the_readme_s_addresses_are_served(world: World, name: str) -> None:
    [base] = re.findall(r"http://127\.0\.0\.1:8000([/\w]*)", CLIENTS[name])
    path = base if base.endswith("/completions") else base + ENTRANCES[base]
    reply = world.get(path) if path.endswith("/models") else world.post(path, {})
    assert reply.status in (200, 400), reply.body
