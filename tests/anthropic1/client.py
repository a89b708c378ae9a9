"""The checks of the last `anthropic` 1.x as a client; it speaks API version 2023-06-01.

Arguments: the base URLs of the prefix, of the bare main port and of the dedicated port, then the base URL
of a gateway with keys. Prints one JSON object: for each check null, or what went wrong.
"""

from __future__ import annotations

import asyncio
import base64
import json
import sys
import traceback
from collections.abc import Callable
from typing import Any

import anthropic
from anthropic import Anthropic, AsyncAnthropic

OLD, NEW, FIRST = "claude-sonnet-4-5", "claude-sonnet-5-5", "claude-3-5-sonnet-20241022"
HELLO: list[Any] = [{"role": "user", "content": "Hello, Claude!"}]
HEARD = 'Claude Sonnet 4.5 (simulated) heard: "Hello, Claude!"'
PNG = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9Q"
    "DwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
PDF = base64.b64encode(b"%PDF-1.4\n%%EOF\n").decode()
WEATHER = {"type": "object", "properties": {"location": {"type": "string"}}}
TOOLS: list[Any] = [
    {"name": "get_weather", "description": "Get the weather", "input_schema": WEATHER},
    {"name": "get_time", "description": "Tell the time", "input_schema": {"type": "object"}},
]

Check = Callable[[Anthropic], None]
CHECKS: dict[str, Check] = {}


def check(work: Check) -> Check:
    CHECKS[work.__name__] = work
    return work


def ask(client: Anthropic, content: Any = "Hello, Claude!", **fields: Any) -> Any:
    """A message, by default of a small request to the older model."""
    turns = [{"role": "user", "content": content}]
    return client.messages.create(**{"model": OLD, "max_tokens": 1024, "messages": turns, **fields})


def text_of(message: Any) -> str:
    return "".join(block.text for block in message.content if block.type == "text")


def scripted(**script: Any) -> str:
    """A text that tells the simulator what to answer."""
    return f"Hello [[sim:{json.dumps(script)}]]"


def refused(kind: type[BaseException], call: Callable[[], Any]) -> Any:
    """The exception of a call, which must be of this very class."""
    try:
        call()
    except kind as error:
        assert type(error) is kind or kind is anthropic.APIError, type(error)
        return error
    raise AssertionError(f"no {kind.__name__}")


@check
def answers(client: Anthropic) -> None:
    message = ask(client)
    assert text_of(message) == HEARD
    assert (message.stop_reason, message.role) == ("end_turn", "assistant")
    assert message.usage.input_tokens > 0
    assert "3.5" in text_of(ask(client, model=FIRST))


@check
def streams(client: Anthropic) -> None:
    with client.messages.stream(model=OLD, max_tokens=1024, messages=HELLO) as stream:
        assert "".join(stream.text_stream) == HEARD
        assert stream.get_final_message().stop_reason == "end_turn"
    events = list(ask(client, stream=True))
    assert (events[0].type, events[-1].type) == ("message_start", "message_stop")


@check
def sampling(client: Anthropic) -> None:
    """This version still takes it, on models that do; on newer ones the default alone."""
    for body in ({"temperature": 0.5}, {"top_p": 0.9}, {"temperature": 0.5, "top_k": 3}):
        assert text_of(ask(client, extra_body=body)) == HEARD
    assert ask(client, model=NEW, extra_body={"temperature": 1})
    call = lambda: ask(client, model=NEW, extra_body={"temperature": 0.5})  # noqa: E731
    assert "temperature" in refused(anthropic.BadRequestError, call).message


@check
def what_only_this_version_takes(client: Anthropic) -> None:
    """A document in a turn of the assistant."""
    source = {"type": "text", "media_type": "text/plain", "data": "x"}
    said = [{"type": "text", "text": "Here."}, {"type": "document", "source": source}]
    turns = [*HELLO, {"role": "assistant", "content": said}, *HELLO]
    assert text_of(ask(client, messages=turns))


@check
def tools(client: Anthropic) -> None:
    turns: list[Any] = [{"role": "user", "content": "Use get_weather and get_time."}]
    asked = ask(client, messages=turns, tools=TOOLS)
    one, other = (block for block in asked.content if block.type == "tool_use")
    source = {"type": "base64", "media_type": "image/png", "data": PNG}
    shown = [{"type": "text", "text": "18 C"}, {"type": "image", "source": source}]
    turns += [
        {"role": "assistant", "content": asked.content},
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": one.id, "content": shown},
                {
                    "type": "tool_result",
                    "tool_use_id": other.id,
                    "content": "no",
                    "is_error": True,
                },
            ],
        },
    ]
    told = text_of(ask(client, messages=turns, tools=TOOLS))
    for line in ('"18 C"', "1 x 1 pixels", 'failed with: "no"'):
        assert line in told, told


@check
def tool_choice(client: Anthropic) -> None:
    rows: list[tuple[Any, int]] = [
        ({"type": "auto"}, 2),
        ({"type": "none"}, 0),
        ({"type": "any"}, 2),
        ({"type": "any", "disable_parallel_tool_use": True}, 1),
        ({"type": "tool", "name": "get_time"}, 1),
        ("auto", 2),
        ("none", 0),
    ]
    for choice, calls in rows:
        found = ask(client, "Use get_weather and get_time.", tools=TOOLS, tool_choice=choice)
        assert [b.type for b in found.content].count("tool_use") == calls, choice


@check
def pictures_and_documents(client: Anthropic) -> None:
    source = {"type": "base64", "media_type": "image/png", "data": PNG}
    address = {"type": "url", "url": "https://example.com/image.jpg"}
    pdf = {"type": "base64", "media_type": "application/pdf", "data": PDF}
    told = text_of(
        ask(
            client,
            [
                {"type": "image", "source": source},
                {"type": "image", "source": address},
                {"type": "document", "source": pdf, "title": "document.pdf"},
            ],
        )
    )
    for line in ("1 x 1 pixels", "at https://example.com/image.jpg", "application/pdf, 15 bytes"):
        assert line in told, told


@check
def caching(client: Anthropic) -> None:
    guide = "You are a helpful assistant with extensive domain knowledge. " * 300
    system = [{"type": "text", "text": guide, "cache_control": {"type": "ephemeral"}}]
    first, second = (ask(client, model=FIRST, system=system).usage for _ in range(2))
    assert second.cache_read_input_tokens > 1024
    assert first.cache_creation_input_tokens + first.cache_read_input_tokens > 1024
    assert second.cache_creation_input_tokens == 0


@check
def thinking(client: Anthropic) -> None:
    fields: Any = {"model": "claude-sonnet-4-20250514", "max_tokens": 16000}
    message = ask(client, **fields, thinking={"type": "enabled", "budget_tokens": 10000})
    assert message.content[0].thinking
    assert message.content[0].signature
    message = ask(client, model=NEW, thinking={"type": "adaptive"}, output_config={"effort": "low"})
    assert message.usage.output_tokens_details.thinking_tokens > 0


@check
def limits(client: Anthropic) -> None:
    message = ask(client, "say STOP now", stop_sequences=["STOP"])
    assert (message.stop_reason, message.stop_sequence) == ("stop_sequence", "STOP")
    assert ask(client, max_tokens=3).stop_reason == "max_tokens"
    assert ask(client, service_tier="standard_only", metadata={"user_id": "u"})


@check
def counting(client: Anthropic) -> None:
    counted = client.messages.count_tokens(model=OLD, messages=HELLO, tools=TOOLS)
    assert counted.input_tokens == ask(client, tools=TOOLS).usage.input_tokens


@check
def models(client: Anthropic) -> None:
    assert NEW in [model.id for model in client.models.list(limit=5)]
    assert client.models.retrieve(OLD).display_name == "Claude Sonnet 4.5"
    refused(anthropic.NotFoundError, lambda: client.models.retrieve("claude-nope"))


@check
def raw_headers(client: Anthropic) -> None:
    raw = client.messages.with_raw_response.create(model=OLD, max_tokens=99, messages=HELLO)
    assert raw.headers["x-isthmus-exchange"]
    assert raw.headers["request-id"].startswith("req_")
    assert raw.headers["anthropic-ratelimit-requests-limit"]
    assert text_of(raw.parse()) == HEARD


@check
def betas(client: Anthropic) -> None:
    fields: Any = {"betas": ["context-management-2025-06-27"], "messages": HELLO}
    fields["context_management"] = {"edits": [{"type": "clear_tool_uses_20250919"}]}
    message = client.beta.messages.create(model=NEW, max_tokens=999, **fields)
    assert message.context_management is not None


@check
def async_clients(client: Anthropic) -> None:
    async def run() -> str:
        async with (
            AsyncAnthropic(base_url=str(client.base_url), api_key="k") as other,
            other.messages.stream(model=OLD, max_tokens=99, messages=HELLO) as stream,
        ):
            return "".join([text async for text in stream.text_stream])

    assert asyncio.run(run()) == HEARD


@check
def errors(client: Anthropic) -> None:
    rows = [
        (400, "invalid_request_error", anthropic.BadRequestError),
        (429, "rate_limit_error", anthropic.RateLimitError),
        (500, "api_error", anthropic.InternalServerError),
    ]
    for status, kind, expected in rows:
        text = scripted(error={"status": status, "type": kind, "message": "m", "retry_after": 7})
        for stream in (False, True):
            error = refused(expected, lambda t=text, s=stream: ask(client, t, stream=s))
            assert error.body["error"]["type"] == kind
            assert error.response.headers["retry-after"] == "7"
    text = scripted(error={"status": 529, "type": "overloaded_error"})
    try:
        ask(client, text)
    except anthropic.APIStatusError as error:
        assert error.status_code == 529
    refused(anthropic.NotFoundError, lambda: ask(client, model="claude-nope"))


@check
def broken_streams(client: Anthropic) -> None:
    overloaded = {"type": "overloaded_error", "message": "Overloaded"}
    for fault in ({"kind": "reset"}, {"kind": "truncate"}, {"kind": "error_event"}):
        more = {"error": overloaded} if fault["kind"] == "error_event" else {}
        blocks = [{"type": "text", "text": "one two three four"}]
        text = scripted(blocks=blocks, delta_chars=4, fault={**fault, **more, "after": 4})
        refused(anthropic.APIError, lambda t=text: list(ask(client, t, stream=True)))


def keys(base_url: str) -> None:
    """At the gateway that has one: the right key in both headers, and a wrong one."""
    right, wrong = "right-key-canary-1", "wrong-key-canary"
    for fields in ({"api_key": right}, {"auth_token": right}):
        with Anthropic(base_url=base_url, max_retries=0, **fields) as client:
            assert text_of(ask(client)) == HEARD
    with Anthropic(base_url=base_url, max_retries=0, api_key=wrong) as client:
        error = refused(anthropic.AuthenticationError, lambda: ask(client))
        assert wrong not in str(error)
    with Anthropic(base_url=base_url, max_retries=0, api_key=right) as client:
        try:
            ask(client, "x" * 6000)
        except anthropic.APIStatusError as error:
            assert error.status_code == 413
            return
    raise AssertionError("nothing was too large")


def outcome(work: Callable[[], None]) -> str | None:
    try:
        work()
    except Exception:
        return traceback.format_exc()
    return None


def main() -> None:
    *doors, locked = sys.argv[1:]
    told: dict[str, str | None] = {"keys": outcome(lambda: keys(locked))}
    for door, base_url in zip(("prefix", "main port", "own port"), doors, strict=True):
        with Anthropic(base_url=base_url, api_key="placeholder", max_retries=0) as client:
            for name, work in CHECKS.items():
                told[f"{name}, {door}"] = outcome(lambda w=work, c=client: w(c))
    json.dump(told, sys.stdout)


if __name__ == "__main__":
    main()
