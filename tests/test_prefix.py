"""Long conversations by the official SDKs: what was sent before is sent again, and so it is cached.

Each request of a conversation must reach the provider as the one before it with more at its end, byte
for byte. The simulator's accounts show what that is worth: every prompt is read from the cache as far
as the one before it went, and no thinking is refused on a model that binds it to what came before.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec
import pytest
from anthropic import Anthropic
from google import genai
from google.genai import types
from openai import OpenAI

from tests import material
from tests.harness import World
from tests.material import PDF, PDF_TEXT, PNG, PNG_TEXT

BOUND, OLD = "claude-opus-5-5", "claude-sonnet-4-5"
"""A model that always thinks and binds that to its prefix, and one without `system` turns."""
REQUESTS = 30
GUIDE = "You keep the log of a station by the sea, and you are asked about what is in it. " * 90
"""Long enough to be cached by every model."""
TOOLS = [f"probe_{letter}" for letter in "abcdefghijklmn"]
SCHEMA = {
    "type": "object",
    "properties": {"depth": {"type": "number"}, "site": {"type": "string"}},
    "required": ["depth", "site"],
}

Item = tuple[str, str]
"""A kind (text, image, document or system) and its words."""
Call = tuple[str, str]
"""The id and the name of a call."""


@dataclass(frozen=True)
class Told:
    """What an answer says: its calls, the tokens of its prompt, and those of them from the cache."""

    calls: list[Call]
    prompt: int
    cached: int


class Speaker(Protocol):
    """One conversation with an official SDK, which keeps its history as its users do."""

    def say(self, items: list[Item]) -> None: ...

    def give(self, results: list[tuple[Call, Item, bool]]) -> None:
        """Results of the last answer's calls; the flag says that the tool failed."""
        ...

    def ask(self, stream: bool) -> Told: ...

    def close(self) -> None: ...


# --- the conversation ---------------------------------------------------------------------------


def remark(n: int) -> list[Item]:
    """What is said in the n-th place where nothing has to be answered."""
    words = f'Remark {n}: "é\u2028😀" and 1.0 < 2e3.  '
    some = ", ".join(TOOLS[n % 4 : n % 4 + 3])
    return [
        [("image", ""), ("text", words)],
        [("text", f"{words}Ask {some}.")],
        [("system", f"Order {n}: be brief."), ("text", words)],
        [("document", ""), ("text", words), ("text", f"{n}")],
        [("text", words), ("system", f"Order {n}: be polite.")],
        [("text", f"{words}Ask {', '.join(TOOLS)}.")],
    ][n % 6]


def result(n: int, at: int) -> tuple[Item, bool]:
    """What the call at this place brings, and whether it failed."""
    if (n + at) % 5 == 3:
        return ("image", f"seen {n}.{at}"), False
    return ("text", f"measured {n}.{at}: 0.10" if (n + at) % 7 else ""), (n + at) % 7 == 5


THOUGHT = {"type": "thinking", "thinking": "So \u2028 it is."}
HIDDEN = {"type": "redacted_thinking"}


def said(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def use(at: int, **given: Any) -> dict[str, Any]:
    return {"type": "tool_use", "name": TOOLS[at], "input": given}


AWKWARD: list[list[dict[str, Any]]] = [
    [THOUGHT, said("White space at its end. \n\n")],
    [THOUGHT, said("One."), THOUGHT, said("Two."), use(0, depth=1.0, site="é 😀\n")],
    [HIDDEN, said(" a "), said("\n"), said("b")],
    [THOUGHT, use(1), use(1), THOUGHT, use(2, site={"b": [1e-7, 100.0, -0.0], "a": None})],
    [said("No thought at all.")],
    [THOUGHT, HIDDEN, THOUGHT, said("{}"), use(3, depth=10**20)],
]
"""Answers that codecs stumble over; all the others are the simulator's own, with one thought each."""
PLACES = {3 + 5 * n: blocks for n, blocks in enumerate(AWKWARD)}
"""Which answers of a conversation these are, by their number."""
KINDS = ("thinking", "redacted_thinking")


def converse(speaker: Speaker, world: World, *, thinks: bool) -> list[Told]:
    """The whole conversation, every other answer streamed."""
    told: list[Told] = []
    remarks = itertools.count()
    for n in range(REQUESTS):
        if n in PLACES:
            blocks = [block for block in PLACES[n] if thinks or block["type"] not in KINDS]
            world.script(blocks=blocks)
        calls = told[-1].calls if told else []
        if calls:
            rows = [(call, *result(n, at)) for at, call in enumerate(calls)]
            speaker.give(rows)
            if n % 3 == 0:
                speaker.say([("system", f"Order {n}: go on.")])
        else:
            speaker.say(remark(next(remarks)))
        told.append(speaker.ask(stream=n % 2 == 1))
    return told


# --- the speakers -------------------------------------------------------------------------------


class Closing:
    """What closes the connections of an SDK."""

    _client: Any

    def close(self) -> None:
        self._client.close()


class Claude(Closing):
    """The `anthropic` SDK."""

    def __init__(self, world: World, model: str, **fields: Any) -> None:
        self._client = Anthropic(base_url=world.url, api_key="placeholder", max_retries=0)
        tools = [{"name": name, "input_schema": SCHEMA} for name in TOOLS]
        self._fields: Any = {"model": model, "max_tokens": 4000, "system": GUIDE, "tools": tools}
        self._fields |= fields
        self._messages: list[Any] = []
        self._has_system = model == BOUND

    def say(self, items: list[Item]) -> None:
        user = [self._block(item) for item in items if item[0] != "system"]
        if user:
            self._messages.append({"role": "user", "content": user})
        # Legal behind what the user says alone.
        for kind, words in items if self._has_system else ():
            if kind == "system":
                self._messages.append({"role": "system", "content": words})

    def give(self, results: list[tuple[Call, Item, bool]]) -> None:
        rows = [
            {
                "type": "tool_result",
                "tool_use_id": call[0],
                "content": [self._block(item)] if item[0] == "image" else item[1],
                "is_error": failed,
            }
            for call, item, failed in results
        ]
        self._messages.append({"role": "user", "content": rows})

    def _block(self, item: Item) -> Any:
        kind, words = item
        if kind == "image":
            source = {"type": "base64", "media_type": "image/png", "data": PNG_TEXT}
            return {"type": "image", "source": source}
        if kind == "document":
            source = {"type": "base64", "media_type": "application/pdf", "data": PDF_TEXT}
            return {"type": "document", "source": source}
        return {"type": "text", "text": words}

    def ask(self, stream: bool) -> Told:
        asked = {**self._fields, "messages": self._messages}
        if stream:
            with self._client.messages.stream(**asked) as events:
                message = events.get_final_message()
        else:
            message = self._client.messages.create(**asked)
        # Anthropic's API gives texts of white space alone, and does not take them back.
        kept = [block for block in message.content if block.type != "text" or block.text.strip()]
        self._messages.append({"role": "assistant", "content": kept})
        usage = message.usage
        read = usage.cache_read_input_tokens or 0
        prompt = usage.input_tokens + (usage.cache_creation_input_tokens or 0) + read
        calls = [(block.id, block.name) for block in message.content if block.type == "tool_use"]
        return Told(calls, prompt, read)


class Chat(Closing):
    """The `openai` SDK, Chat Completions."""

    def __init__(self, world: World, model: str, **fields: Any) -> None:
        self._client = OpenAI(base_url=f"{world.url}/v1", api_key="placeholder", max_retries=0)
        functions = [{"name": name, "parameters": SCHEMA} for name in TOOLS]
        tools = [{"type": "function", "function": function} for function in functions]
        self._fields: Any = {"model": model, "tools": tools, **fields}
        self._messages: list[Any] = [{"role": "system", "content": GUIDE}]

    def say(self, items: list[Item]) -> None:
        for system, group in itertools.groupby(items, lambda item: item[0] == "system"):
            if system:
                self._messages += [{"role": "developer", "content": words} for _, words in group]
            else:
                parts = [self._part(item) for item in group]
                self._messages.append({"role": "user", "content": parts})

    def give(self, results: list[tuple[Call, Item, bool]]) -> None:
        for call, item, _ in results:
            content = [self._part(("text", item[1])), self._part(item)]
            self._messages.append(
                {
                    "role": "tool",
                    "tool_call_id": call[0],
                    "content": content if item[0] == "image" else item[1],
                }
            )

    def _part(self, item: Item) -> Any:
        kind, words = item
        if kind == "image":
            url = f"data:image/png;base64,{PNG_TEXT}"
            return {"type": "image_url", "image_url": {"url": url}}
        if kind == "document":
            data = f"data:application/pdf;base64,{PDF_TEXT}"
            return {"type": "file", "file": {"filename": "log.pdf", "file_data": data}}
        return {"type": "text", "text": words}

    def ask(self, stream: bool) -> Told:
        asked = {**self._fields, "messages": self._messages}
        if stream:
            asked["stream_options"] = {"include_usage": True}
            with self._client.chat.completions.stream(**asked) as events:
                completion: Any = events.get_final_completion()
        else:
            completion = self._client.chat.completions.create(**asked)
        message, usage = completion.choices[0].message, completion.usage
        self._messages.append(message)
        calls = [(call.id, call.function.name) for call in message.tool_calls or ()]
        return Told(calls, usage.prompt_tokens, usage.prompt_tokens_details.cached_tokens)


class Responses(Closing):
    """The `openai` SDK, Responses."""

    def __init__(self, world: World, model: str, **fields: Any) -> None:
        self._client = OpenAI(base_url=f"{world.url}/v1", api_key="placeholder", max_retries=0)
        tools = [
            {"type": "function", "name": name, "parameters": SCHEMA, "strict": False}
            for name in TOOLS
        ]
        self._fields: Any = {"model": model, "instructions": GUIDE, "tools": tools, **fields}
        self._items: list[Any] = []

    def say(self, items: list[Item]) -> None:
        for system, group in itertools.groupby(items, lambda item: item[0] == "system"):
            role = "developer" if system else "user"
            self._items.append({"role": role, "content": [self._part(item) for item in group]})

    def give(self, results: list[tuple[Call, Item, bool]]) -> None:
        for call, item, _ in results:
            output = [self._part(("text", item[1])), self._part(item)]
            self._items.append(
                {
                    "type": "function_call_output",
                    "call_id": call[0],
                    "output": output if item[0] == "image" else item[1],
                }
            )

    def _part(self, item: Item) -> Any:
        kind, words = item
        if kind == "image":
            url = f"data:image/png;base64,{PNG_TEXT}"
            return {"type": "input_image", "image_url": url, "detail": "auto"}
        if kind == "document":
            data = f"data:application/pdf;base64,{PDF_TEXT}"
            return {"type": "input_file", "filename": "log.pdf", "file_data": data}
        return {"type": "input_text", "text": words}

    def ask(self, stream: bool) -> Told:
        asked = {**self._fields, "input": self._items, "store": False}
        if stream:
            with self._client.responses.stream(**asked) as events:
                response: Any = events.get_final_response()
        else:
            response = self._client.responses.create(**asked)
        self._items += response.output
        calls = [
            (item.call_id, item.name) for item in response.output if item.type == "function_call"
        ]
        usage = response.usage
        return Told(calls, usage.input_tokens, usage.input_tokens_details.cached_tokens)


class Gemini(Closing):
    """The `google-genai` SDK, whose chat keeps the history: of a stream it keeps every chunk."""

    def __init__(self, world: World, model: str, **fields: Any) -> None:
        options = types.HttpOptions(base_url=world.url)
        self._client = genai.Client(api_key="placeholder", http_options=options)
        rows = [
            types.FunctionDeclaration(name=name, parameters_json_schema=SCHEMA) for name in TOOLS
        ]
        config = types.GenerateContentConfig(
            system_instruction=GUIDE, tools=[types.Tool(function_declarations=rows)], **fields
        )
        self._chat = self._client.chats.create(model=model, config=config)
        self._parts: list[Any] = []

    def say(self, items: list[Item]) -> None:
        """The dialect has no system messages in the middle."""
        self._parts += [self._part(item) for item in items if item[0] != "system"]

    def give(self, results: list[tuple[Call, Item, bool]]) -> None:
        beside = []
        for at, ((own, name), item, failed) in enumerate(results):
            response = {"error" if failed else "output": item[1]}
            made = types.FunctionResponse(id=own, name=name, response=response)
            if item[0] == "image" and at % 2:
                made.parts = [
                    types.FunctionResponsePart.from_bytes(data=PNG, mime_type="image/png")
                ]
            elif item[0] == "image":
                beside.append(self._part(item))
            self._parts.append(types.Part(function_response=made))
        self._parts += beside

    def _part(self, item: Item) -> Any:
        kind, words = item
        if kind == "image":
            return types.Part.from_bytes(data=PNG, mime_type="image/png")
        if kind == "document":
            return types.Part.from_bytes(data=PDF, mime_type="application/pdf")
        return types.Part.from_text(text=words)

    def ask(self, stream: bool) -> Told:
        parts, self._parts = self._parts, []
        if stream:
            answers = list(self._chat.send_message_stream(parts))
        else:
            answers = [self._chat.send_message(parts)]
        found = [part for one in answers for part in one.candidates[0].content.parts or ()]
        calls = [part.function_call for part in found if part.function_call]
        usage: Any = answers[-1].usage_metadata
        named = [(call.id, call.name) for call in calls]
        return Told(named, usage.prompt_token_count, usage.cached_content_token_count or 0)


# --- what reached the provider ------------------------------------------------------------------

MARK = b',"cache_control":{"type":"ephemeral"}'


class Sent(msgspec.Struct):
    """A request as it reached the provider, each part with its very bytes."""

    messages: list[msgspec.Raw]
    tools: msgspec.Raw
    system: msgspec.Raw


class Turn(msgspec.Struct):
    role: str
    content: msgspec.Raw


def pieces(body: bytes) -> list[bytes]:
    """Tools, system and the blocks of all turns, in their order and without our markers."""
    sent = msgspec.json.decode(body, type=Sent)
    found = [bytes(sent.tools), bytes(sent.system)]
    for message in sent.messages:
        turn = msgspec.json.decode(message, type=Turn)
        content = bytes(turn.content)
        if content.startswith(b'"'):
            blocks = [b'{"type":"text","text":' + content + b"}"]
        else:
            blocks = [bytes(raw) for raw in msgspec.json.decode(content, type=list[msgspec.Raw])]
        found += [turn.role.encode() + block.replace(MARK, b"") for block in blocks]
    return found


def thoughts(body: bytes) -> list[dict[str, Any]]:
    turns = msgspec.json.decode(body)["messages"]
    blocks = [b for turn in turns if isinstance(turn["content"], list) for b in turn["content"]]
    return [block for block in blocks if block["type"] in KINDS]


def thought(n: int) -> int:
    """How often an answer thinks."""
    return sum(block["type"] in KINDS for block in PLACES[n]) if n in PLACES else 1


SUMMARY = {"effort": "low", "summary": "auto"}
INCLUDED = ["reasoning.encrypted_content"]
SHOWN = types.ThinkingConfig(include_thoughts=True, thinking_level=types.ThinkingLevel.LOW)
ADAPTIVE = {"type": "adaptive", "display": "summarized"}

Make = Callable[[World], Speaker]
BINDING: dict[str, Make] = {
    "anthropic": lambda world: Claude(world, BOUND),
    "anthropic, summarized": lambda world: Claude(world, BOUND, thinking=ADAPTIVE),
    "openai-chat": lambda world: Chat(world, BOUND),
    "openai-chat, an effort": lambda world: Chat(world, BOUND, reasoning_effort="low"),
    "openai-responses": lambda world: Responses(world, BOUND, include=INCLUDED),
    "openai-responses, a summary": lambda world: Responses(
        world, BOUND, include=INCLUDED, reasoning=SUMMARY
    ),
    "openai-responses, not included": lambda world: Responses(world, BOUND),
    "gemini": lambda world: Gemini(world, BOUND),
    "gemini, thoughts shown": lambda world: Gemini(world, BOUND, thinking_config=SHOWN),
}
PLAIN: dict[str, Make] = {
    "anthropic": lambda world: Claude(world, OLD),
    "openai-chat": lambda world: Chat(world, OLD),
    "openai-responses": lambda world: Responses(world, OLD),
    "gemini": lambda world: Gemini(world, OLD),
}


@pytest.fixture(autouse=True, scope="module")
def clean() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        material.clean(patch)
        yield


@contextmanager
def caching(**config: Any) -> Iterator[World]:
    world = World(backend={"prompt_cache": "auto"}, **config)
    yield world
    world.close()


@pytest.fixture(scope="module")
def remembering() -> Iterator[World]:
    with caching() as world:
        yield world


@pytest.fixture(scope="module")
def forgetting() -> Iterator[World]:
    with caching(vault={"enabled": False}) as world:
        yield world


def held(world: World, make: Make, *, thinks: bool = True) -> list[bytes]:
    """The bodies of a conversation that was held; each begins as the one before it, and is cached so."""
    world.simulator.reset()
    speaker = make(world)
    try:
        told = converse(speaker, world, thinks=thinks)
    finally:
        speaker.close()
    bodies = [request.body for request in world.received()]
    assert len(bodies) == len(told) == REQUESTS
    assert max(len(one.calls) for one in told) == len(TOOLS)
    for earlier, later in itertools.pairwise(map(pieces, bodies)):
        assert later[: len(earlier)] == earlier
        assert len(later) > len(earlier)
    assert told[0].cached == 0
    for before, after in itertools.pairwise(told):
        assert after.cached == before.prompt
    assert told[-1].cached > 5000
    return bodies


@material.QUIET
@pytest.mark.parametrize("make", BINDING.values(), ids=BINDING)
def test_nothing_moves_before_a_model_that_binds_its_thinking(
    remembering: World, make: Make
) -> None:
    """All thinking comes back, signed, in front of a model that would refuse it behind another prefix."""
    bodies = held(remembering, make)
    found = thoughts(bodies[-1])
    assert len(found) == sum(map(thought, range(REQUESTS - 1)))
    assert all(block.get("signature") or block.get("data") for block in found)


@material.QUIET
@pytest.mark.parametrize("make", PLAIN.values(), ids=PLAIN)
def test_nothing_moves_before_a_model_without_system_turns(remembering: World, make: Make) -> None:
    held(remembering, make, thinks=False)


@pytest.mark.parametrize("name", ["openai-chat", "openai-responses, not included", "gemini"])
def test_nothing_moves_where_nothing_is_remembered(forgetting: World, name: str) -> None:
    """Reasoning that its client does not carry is gone, always; what Chat and Gemini carry stays."""
    bodies = held(forgetting, BINDING[name])
    whole = sum(map(thought, range(REQUESTS - 1)))
    assert len(thoughts(bodies[-1])) == (0 if name.endswith("not included") else whole)
