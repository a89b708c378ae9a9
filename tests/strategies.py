"""What Hypothesis draws: legal streams, their forms on the wire, JSON as clients write it."""

import base64
import copy
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from hypothesis import strategies as st

from isthmus.messages import Event

Value = dict[str, Any]

# A slow machine is no fault of the code: time is bounded for each test as a whole, by pytest.

AWKWARD = [
    *(
        "é",
        "日本語",
        "😀",
        "👩‍👩‍👧",
        "a\r\nb",
        "\u2028",
        "\ufeff",
        "\ufffd",
        "e\u0301",
        "\x00",
        "\x7f",
        " ",
        "\n\n",
    ),
    *("data: [DONE]\n\n", "event: error\n", '"\\', "\\u0041", "</s>", "{}", "[", ": ping"),
]
"""Texts that have broken parsers: line ends, separators, marks, escapes, and our own framing."""

TEXT = st.one_of(
    st.sampled_from(AWKWARD),
    st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=12),
    st.lists(st.sampled_from([*AWKWARD, "word ", "Ab1"]), min_size=2, max_size=5).map("".join),
)
NAMES = st.from_regex(r"[a-zA-Z0-9_-]{1,12}", fullmatch=True)
TOKENS = st.integers(0, 10_000)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.sampled_from([0.5, 1e-7]) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=6,
)
OBJECTS = st.dictionaries(NAMES, JSON, max_size=3)


# --- JSON as text -------------------------------------------------------------------------------

BLANKS = st.sampled_from(["", "", "", " ", "\n  ", "\t", "\r\n", "   "])
NUMBERS = st.sampled_from(
    ["0", "-0", "1.0", "-0.0", "1e2", "1E+2", "0.1e-7", "100", "12345678901234567890", "9" * 40]
)


@st.composite
def string_texts(draw: st.DrawFn) -> str:
    """A JSON string, some of its characters escaped without need."""
    text = json.dumps(draw(TEXT), ensure_ascii=draw(st.booleans()))
    if "\\" not in text and draw(st.booleans()):
        text = text.replace("a", "\\u0061").replace("/", "\\/")
    return text


@st.composite
def object_texts(draw: st.DrawFn, values: st.SearchStrategy[str] | None = None) -> str:
    """A JSON object with odd spacing, number formats and escapes."""
    keys = draw(st.lists(string_texts(), max_size=3, unique_by=json.loads))
    members = [
        draw(BLANKS)
        + key
        + draw(BLANKS)
        + ":"
        + draw(BLANKS)
        + draw(json_texts() if values is None else values)
        + draw(BLANKS)
        for key in keys
    ]
    return "{" + (",".join(members) or draw(BLANKS)) + "}"


def json_texts() -> st.SearchStrategy[str]:
    """Any JSON value as text, written as no serialiser of ours would write it."""
    leaves = st.one_of(NUMBERS, string_texts(), st.sampled_from(["true", "false", "null"]))
    return st.recursive(
        leaves,
        lambda inner: (
            object_texts(inner)
            | st.lists(inner, max_size=3).map(lambda row: f"[{' , '.join(row)}]")
        ),
        max_leaves=5,
    )


@st.composite
def spliceable(draw: st.DrawFn) -> tuple[str, list[str]]:
    """A request body as text, and the names of its members in their order; some stand twice."""
    known = st.sampled_from(["model", "stream", "messages", "max_tokens", "x", "ÿ", 'q"', "a\\b"])
    names = draw(st.lists(known, min_size=1, max_size=7))
    members = [
        draw(BLANKS)
        + json.dumps(name, ensure_ascii=draw(st.booleans()))
        + draw(BLANKS)
        + ":"
        + draw(BLANKS)
        + draw(json_texts())
        + draw(BLANKS)
        for name in names
    ]
    return draw(BLANKS) + "{" + ",".join(members) + "}" + draw(BLANKS), names


# --- the blocks of an answer --------------------------------------------------------------------


@dataclass(slots=True)
class Part:
    """One block of a drawn stream: what it starts as, its deltas, and what it amounts to.

    ``arguments`` is the JSON text of a tool call as it was streamed, None for other blocks.
    """

    start: Value
    deltas: list[Value]
    whole: Value
    arguments: str | None = None


def cuts(text: str) -> st.SearchStrategy[list[str]]:
    """The text in pieces, of which some may be empty."""
    places = st.lists(st.integers(0, len(text)), max_size=3).map(sorted)
    return places.map(
        lambda at: [text[a:b] for a, b in zip([0, *at], [*at, len(text)], strict=True)]
    )


CITATIONS = st.one_of(
    st.fixed_dictionaries(
        {
            "type": st.just("web_search_result_location"),
            "url": st.sampled_from(["https://example.com/a", "https://example.com/ü?q=1"]),
            "title": TEXT,
            "encrypted_index": NAMES,
            "cited_text": TEXT,
        }
    ),
    st.fixed_dictionaries(
        {
            "type": st.just("char_location"),
            "cited_text": TEXT,
            "document_index": st.integers(0, 3),
            "document_title": st.none() | TEXT,
            "start_char_index": st.integers(0, 9),
            "end_char_index": st.integers(10, 19),
        }
    ),
)


@st.composite
def texts(draw: st.DrawFn) -> Part:
    """A text block, with or without citations, which may be empty."""
    pieces = draw(st.lists(TEXT, max_size=4))
    citations = draw(st.lists(CITATIONS, max_size=2)) if pieces and draw(st.booleans()) else []
    start: Value = {"type": "text", "text": ""}
    if citations or draw(st.booleans()):
        start["citations"] = None
    deltas: list[Value] = [{"type": "text_delta", "text": piece} for piece in pieces]
    for citation in citations:
        place = draw(st.integers(0, len(deltas)))
        deltas.insert(place, {"type": "citations_delta", "citation": citation})
    whole = {**start, "text": "".join(pieces)}
    if citations:
        whole["citations"] = [d["citation"] for d in deltas if "citation" in d]
    return Part(start, deltas, whole)


@st.composite
def thoughts(draw: st.DrawFn) -> Part:
    """A thinking block; with its display omitted only the signature comes."""
    pieces = draw(st.lists(TEXT, max_size=3))
    signature = "sig-" + draw(st.from_regex(r"[A-Za-z0-9+/]{20,40}={0,2}", fullmatch=True))
    deltas: list[Value] = [{"type": "thinking_delta", "thinking": piece} for piece in pieces]
    if draw(st.booleans()):
        deltas.insert(0, {"type": "thinking_delta", "thinking": "", "estimated_tokens": 12})
    deltas.append({"type": "signature_delta", "signature": signature})
    start = {"type": "thinking", "thinking": "", "signature": ""}
    return Part(start, deltas, {**start, "thinking": "".join(pieces), "signature": signature})


CALLS: dict[str, Callable[[str], Value]] = {
    "tool_use": lambda text: {"id": f"toolu_{text}", "name": "get_weather"},
    "server_tool_use": lambda text: {"id": f"srvtoolu_{text}", "name": "web_search"},
    "mcp_tool_use": lambda text: {"id": f"mcptoolu_{text}", "name": "echo", "server_name": "m"},
}


@st.composite
def calls(draw: st.DrawFn, kind: str) -> Part:
    """A tool call; without arguments it may come with no delta, or with an empty one."""
    start = {"type": kind, **CALLS[kind](draw(NAMES)), "input": {}}
    if kind == "tool_use" and draw(st.booleans()):
        start |= {"name": draw(NAMES), "caller": {"type": "direct"}}
    text = draw(st.just("") | st.just("{}") | object_texts())
    pieces = draw(st.just([]) | st.just([""])) if not text else ["", *draw(cuts(text))]
    deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in pieces]
    return Part(start, deltas, {**start, "input": json.loads(text or "{}")}, text or "{}")


@st.composite
def compactions(draw: st.DrawFn) -> Part:
    start = {"type": "compaction", "content": None}
    delta: Value = {"content": draw(st.none() | TEXT), "encrypted_content": draw(NAMES)}
    return Part(start, [{"type": "compaction_delta", **delta}], {**start, **delta})


def complete(block: Value) -> Part:
    return Part(block, [], block)


SEARCHED = st.lists(
    st.fixed_dictionaries(
        {
            "type": st.just("web_search_result"),
            "url": st.just("https://example.com/a"),
            "title": TEXT,
            "encrypted_content": NAMES,
            "page_age": st.none() | st.just("2 days ago"),
        }
    ),
    max_size=2,
)
COMPLETE = st.one_of(
    st.builds(lambda data: {"type": "redacted_thinking", "data": f"red-{data}"}, NAMES),
    st.builds(
        lambda end, content: {
            "type": "web_search_tool_result",
            "tool_use_id": f"srvtoolu_{end}",
            "content": content,
        },
        NAMES,
        SEARCHED | st.just({"type": "web_search_tool_result_error", "error_code": "unavailable"}),
    ),
    st.builds(
        lambda end, text: {
            "type": "mcp_tool_result",
            "tool_use_id": f"mcptoolu_{end}",
            "is_error": False,
            "content": [{"type": "text", "text": text}],
        },
        NAMES,
        TEXT,
    ),
    st.builds(lambda end: {"type": "container_upload", "file_id": f"file_{end}"}, NAMES),
    st.builds(lambda fields: {**fields, "type": "block_of_next_year"}, OBJECTS),
).map(complete)

PARTS = st.one_of(
    *(texts(), texts(), thoughts(), calls("tool_use"), calls("tool_use")),
    *(calls("server_tool_use"), calls("mcp_tool_use"), compactions(), COMPLETE),
)


# --- the stream ---------------------------------------------------------------------------------


@dataclass(slots=True)
class Stream:
    """A drawn stream: its events as values, the message that they amount to, and the arguments of
    its tool calls as text, by block index."""

    values: list[Value]
    message: Value
    arguments: dict[int, str] = field(default_factory=dict[int, str])

    @property
    def events(self) -> list[Event]:
        """Fresh events, so that no test sees what another one has done to them."""
        return [Event(value=json.loads(json.dumps(value))) for value in self.values]


ENDS = ["end_turn", "stop_sequence", "refusal", "pause_turn", "model_context_window_exceeded"]


@st.composite
def endings(draw: st.DrawFn, parts: list[Part]) -> tuple[Value, list[Part]]:
    """How a stream ends, and its parts, of which a limit may have cut the last one."""
    called = any(part.whole["type"] == "tool_use" for part in parts)
    reason = draw(st.sampled_from(["tool_use" if called else "end_turn", "max_tokens", *ENDS]))
    if called and reason in ("end_turn", "stop_sequence"):
        reason = "tool_use"
    delta = {"stop_reason": reason, "stop_sequence": None}
    if reason == "stop_sequence":
        delta["stop_sequence"] = draw(TEXT)
    if reason == "refusal":
        explanation = draw(st.none() | TEXT)
        delta["stop_details"] = {"type": "refusal", "category": "cyber", "explanation": explanation}
    last = parts[-1] if parts else None
    if reason == "max_tokens" and last and last.arguments and last.deltas and draw(st.booleans()):
        cut = last.arguments[: draw(st.integers(1, max(1, len(last.arguments.rstrip()) - 1)))]
        deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in draw(cuts(cut))]
        parts = [*parts[:-1], Part(last.start, deltas, {**last.whole, "input": {}}, cut)]
    return delta, parts


@st.composite
def usages(draw: st.DrawFn) -> Value:
    usage: Value = {"input_tokens": draw(TOKENS)}
    if draw(st.booleans()):
        small, large = draw(TOKENS), draw(TOKENS)
        usage |= {
            "cache_creation_input_tokens": small + large,
            "cache_read_input_tokens": draw(TOKENS),
            "cache_creation": {
                "ephemeral_5m_input_tokens": small,
                "ephemeral_1h_input_tokens": large,
            },
        }
    return {**usage, "output_tokens": draw(st.integers(0, 8)), "service_tier": "standard"}


NOISE = st.one_of(
    st.just({"type": "ping"}),
    st.builds(lambda extra: {**extra, "type": "event_of_next_year"}, OBJECTS),
)


NEW_DELTAS = st.builds(
    lambda extra: {**extra, "type": "delta_of_next_year"},
    OBJECTS
    | st.just({"text": "new", "thinking": "new", "partial_json": "new", "signature": "new"}),
)
OPEN_BLOCKS = ("text", "thinking", *CALLS, "compaction")


@st.composite
def with_new_deltas(draw: st.DrawFn, part: Part) -> Part:
    """A block of today in a stream of a later API, whose further deltas say nothing to its message."""
    if part.start["type"] not in OPEN_BLOCKS:
        return part
    deltas = list(part.deltas)
    for delta in draw(st.lists(NEW_DELTAS, max_size=1)):
        deltas.insert(draw(st.integers(0, len(deltas))), delta)
    return replace(part, deltas=deltas)


@st.composite
def streams(
    draw: st.DrawFn, parts: st.SearchStrategy[Part] = PARTS, *, noise: bool = True
) -> Stream:
    """A legal stream by the grammar of the Messages API (its streaming page)."""
    delta, blocks = draw(endings(draw(st.lists(parts, max_size=4))))
    if noise:
        blocks = [draw(with_new_deltas(part)) for part in blocks]
    head: Value = {
        "id": "msg_" + draw(NAMES),
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-4-5-20250929",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": draw(usages()),
    }
    values: list[Value] = [{"type": "message_start", "message": head}]
    for index, part in enumerate(blocks):
        if "id" in part.start:
            part.start["id"] = part.whole["id"] = f"{part.start['id']}_{index}"
        values.append({"type": "content_block_start", "index": index, "content_block": part.start})
        values += [
            {"type": "content_block_delta", "index": index, "delta": piece} for piece in part.deltas
        ]
        values.append({"type": "content_block_stop", "index": index})
    spent: Value = {"output_tokens": draw(st.integers(8, 10_000))}
    if draw(st.booleans()):
        spent["output_tokens_details"] = {"thinking_tokens": draw(st.integers(0, 8))}
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2]))):
        early = {"stop_reason": None, "stop_sequence": None}
        values.append({"type": "message_delta", "delta": early, "usage": {"output_tokens": 1}})
    values += [{"type": "message_delta", "delta": delta, "usage": spent}, {"type": "message_stop"}]
    if noise:
        for event in draw(st.lists(NOISE, max_size=3)):
            values.insert(draw(st.integers(0, len(values))), event)
    message = {**head, **delta, "content": [part.whole for part in blocks]}
    message["usage"] = {**head["usage"], **spent}
    arguments = {i: part.arguments for i, part in enumerate(blocks) if part.arguments is not None}
    return Stream(values, message, arguments)


@st.composite
def broken_streams(draw: st.DrawFn) -> Stream:
    """A legal stream that an ``error`` event ends before its time."""
    stream = draw(streams())
    last = max(i for i, value in enumerate(stream.values) if value["type"] == "message_stop")
    error = draw(
        st.sampled_from(
            [
                {"type": "overloaded_error", "message": "Overloaded"},
                {"type": "api_error", "message": "Internal server error"},
                {"type": "error_of_next_year", "message": "é\n"},
                {
                    "type": "rate_limit_error",
                    "message": "slow down",
                    "details": {"error_code": "x"},
                },
            ]
        )
    )
    values = stream.values[: draw(st.integers(0, last))]
    return Stream([*values, {"type": "error", "error": error}], stream.message, stream.arguments)


MESSAGES = streams(noise=False).map(lambda stream: stream.message)
"""Complete answers; an input that a limit cut off is an empty object in them."""


# --- forms on the wire --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Form:
    """How an emitter writes server-sent events, within what WHATWG section 9.2.6 allows."""

    line_end: str = "\n"
    space: str = " "
    mark: bool = False
    comments: bool = False
    named: bool = True
    data_first: bool = False
    indent: int | None = None
    escaped: bool = False
    extra: tuple[str, ...] = ()


FORMS = st.builds(
    Form,
    line_end=st.sampled_from(["\n", "\r\n", "\r"]),
    space=st.sampled_from([" ", ""]),
    mark=st.booleans(),
    comments=st.booleans(),
    named=st.booleans(),
    data_first=st.booleans(),
    indent=st.sampled_from([None, 1]),
    escaped=st.booleans(),
    extra=st.sampled_from([(), ("id: 7",), ("retry: 10", "id: a\x00b"), ("nothing",), (": x",)]),
)


def framed(value: Value, form: Form) -> str:
    """One event as text, its closing blank line included."""
    text = json.dumps(value, ensure_ascii=form.escaped, indent=form.indent)
    lines = [f"data:{form.space}{line}" for line in text.split("\n")]
    if form.named:
        name = f"event:{form.space}{value['type']}"
        lines = [*lines, name] if form.data_first else [name, *lines]
    lines = [*form.extra, *lines]
    if form.comments:
        lines = [": keep-alive", *lines]
    return form.line_end.join([*lines, "", ""])


def on_the_wire(values: list[Value], form: Form) -> bytes:
    """A whole stream as bytes."""
    mark = "\ufeff" if form.mark else ""
    return (mark + "".join(framed(value, form) for value in values)).encode()


def splits(data: bytes) -> st.SearchStrategy[list[bytes]]:
    """The bytes in a few pieces, or one by one."""
    single = st.just([data[i : i + 1] for i in range(len(data))])
    places = st.lists(st.integers(0, len(data)), max_size=8).map(sorted)
    return single | places.map(
        lambda at: [data[a:b] for a, b in zip([0, *at], [*at, len(data)], strict=True)]
    )


# --- conversations ------------------------------------------------------------------------------

Item = tuple[Any, ...]
"""What somebody says: ("text", text), ("image", media type, base64), ("image_url", url),
("pdf", base64), ("call", id, name, input) or ("result", id, name, text, is_error)."""


@dataclass(frozen=True, slots=True)
class Said:
    """One message of a conversation; ``role`` is system, user, assistant or results."""

    role: str
    items: tuple[Item, ...]


DATA = st.binary(min_size=1, max_size=24)
TOOLS = ("get_weather", "read_file")


@st.composite
def user_items(draw: st.DrawFn, mark: Callable[[], str]) -> tuple[Item, ...]:
    kinds = draw(st.lists(st.sampled_from(["image", "image_url", "pdf", "text"]), max_size=2))
    items: list[Item] = [("text", mark())]
    for kind in kinds:
        data = base64.b64encode(draw(DATA)).decode()
        row: dict[str, Item] = {
            "text": ("text", mark()),
            "image": ("image", draw(st.sampled_from(["image/png", "image/jpeg"])), data),
            "image_url": ("image_url", f"https://example.com/{mark().split()[0]}.png"),
            "pdf": ("pdf", data),
        }
        items.append(row[kind])
    return tuple(draw(st.permutations(items)))


@st.composite
def tool_rounds(draw: st.DrawFn, mark: Callable[[], str]) -> list[Said]:
    """A turn of the assistant with tool calls, and the turn that answers them all."""
    spoken: list[Item] = [("text", mark())] if draw(st.booleans()) else []
    asked = [
        ("call", f"call_{mark().split()[0]}", draw(st.sampled_from(TOOLS)), draw(OBJECTS))
        for _ in range(draw(st.integers(1, 2)))
    ]
    answers = [
        ("result", call[1], call[2], mark(), draw(st.sampled_from([False, False, True])))
        for call in asked
    ]
    return [Said("assistant", (*spoken, *asked)), Said("results", tuple(answers))]


@st.composite
def conversations(draw: st.DrawFn, *, late_system: bool = True) -> list[Said]:
    """A conversation as a client may send it, its last message the user's; every text is its own."""
    count = 0

    def mark() -> str:
        nonlocal count
        count += 1
        return f"m{count}x {draw(TEXT)} x{count}m"

    said = [Said("system", (("text", mark()),)) for _ in range(draw(st.integers(0, 2)))]
    for turn in range(draw(st.integers(1, 3))):
        if turn:
            said.append(Said("assistant", (("text", mark()),)))
        said.append(Said("user", draw(user_items(mark))))
        if late_system and draw(st.sampled_from([False, False, True])):
            said.append(Said("system", (("text", mark()),)))
        for _ in range(draw(st.sampled_from([0, 1, 1, 2]))):
            said += draw(tool_rounds(mark))
    return said


def sent(said: list[Said]) -> list[int]:
    """How many messages had been said at each point where the client asked for an answer."""
    return [
        i for i in range(1, len(said) + 1)
        if said[i - 1].role != "assistant" and (i == len(said) or said[i].role == "assistant")
    ]  # fmt: skip


SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "additionalProperties": True,
}


def leading(said: list[Said]) -> int:
    """How many system messages stand before everything else."""
    return next((i for i, one in enumerate(said) if one.role != "system"), len(said))


def _hub_block(item: Item) -> Value:
    match item:
        case ("text", text):
            return {"type": "text", "text": text}
        case ("image", media, data):
            source = {"type": "base64", "media_type": media, "data": data}
            return {"type": "image", "source": source}
        case ("image_url", url):
            return {"type": "image", "source": {"type": "url", "url": url}}
        case ("pdf", data):
            source = {"type": "base64", "media_type": "application/pdf", "data": data}
            return {"type": "document", "source": source}
        case ("call", call, name, value):
            return {"type": "tool_use", "id": call, "name": name, "input": value}
        case (_, call, _, text, failed):
            result = {"type": "tool_result", "tool_use_id": call, "content": text}
            return {**result, "is_error": True} if failed else result
    raise AssertionError(item)


def as_messages(said: list[Said]) -> Value:
    """The conversation as a client of Anthropic's Messages sends it."""
    first = leading(said)
    roles = {"results": "user"}
    body: Value = {"model": "claude-sonnet-4-5", "max_tokens": 1000, "stream": True}
    if first:
        body["system"] = [_hub_block(item) for one in said[:first] for item in one.items]
    body["messages"] = [
        {"role": roles.get(one.role, one.role), "content": [_hub_block(item) for item in one.items]}
        for one in said[first:]
    ]
    body["tools"] = [{"name": name, "input_schema": SCHEMA} for name in TOOLS]
    return body


def _chat_part(item: Item) -> Value:
    match item:
        case ("text", text):
            return {"type": "text", "text": text}
        case ("image", media, data):
            return {"type": "image_url", "image_url": {"url": f"data:{media};base64,{data}"}}
        case ("image_url", url):
            return {"type": "image_url", "image_url": {"url": url}}
        case ("pdf", data):
            whole = f"data:application/pdf;base64,{data}"
            return {"type": "file", "file": {"filename": "a.pdf", "file_data": whole}}
    raise AssertionError(item)


def _chat_messages(one: Said) -> list[Value]:
    if one.role == "results":
        return [
            {"role": "tool", "tool_call_id": call, "content": text}
            for _, call, _, text, _ in one.items
        ]
    parts = [_chat_part(item) for item in one.items if item[0] != "call"]
    plain = len(parts) == 1 and parts[0]["type"] == "text"
    message: Value = {"role": one.role, "content": parts[0]["text"] if plain else parts or None}
    asked = [
        {
            "id": item[1],
            "type": "function",
            "function": {"name": item[2], "arguments": json.dumps(item[3])},
        }
        for item in one.items
        if item[0] == "call"
    ]
    return [{**message, "tool_calls": asked} if asked else message]


def as_chat(said: list[Said]) -> Value:
    """The conversation as a client of OpenAI's Chat Completions sends it; results have no error flag."""
    return {
        "model": "claude-sonnet-4-5",
        "stream": True,
        "messages": [message for one in said for message in _chat_messages(one)],
        "tools": [
            {"type": "function", "function": {"name": name, "parameters": SCHEMA}} for name in TOOLS
        ],
    }


def _responses_part(item: Item, role: str) -> Value:
    match item:
        case ("text", text):
            return {"type": "output_text" if role == "assistant" else "input_text", "text": text}
        case ("image", media, data):
            return {"type": "input_image", "image_url": f"data:{media};base64,{data}"}
        case ("image_url", url):
            return {"type": "input_image", "image_url": url, "detail": "auto"}
        case ("pdf", data):
            whole = f"data:application/pdf;base64,{data}"
            return {"type": "input_file", "filename": "a.pdf", "file_data": whole}
    raise AssertionError(item)


def _responses_items(one: Said) -> list[Value]:
    """A message of the conversation as items: what is said first, then each call or result."""
    items: list[Value] = []
    parts = [_responses_part(i, one.role) for i in one.items if i[0] not in ("call", "result")]
    if parts:
        items.append({"type": "message", "role": one.role, "content": parts})
    for item in one.items:
        match item:
            case ("call", call, name, value):
                called = {"type": "function_call", "call_id": call, "name": name}
                items.append({**called, "arguments": json.dumps(value)})
            case ("result", call, _, text, _):
                items.append({"type": "function_call_output", "call_id": call, "output": text})
    return items


def as_responses(said: list[Said]) -> Value:
    """The conversation as a client of OpenAI's Responses sends it; results have no error flag."""
    return {
        "model": "claude-sonnet-4-5",
        "stream": True,
        "input": [item for one in said for item in _responses_items(one)],
        "tools": [{"type": "function", "name": name, "parameters": SCHEMA} for name in TOOLS],
    }


def _gemini_part(item: Item, *, ids: bool, url_safe: bool) -> Value:
    def encoded(data: str) -> str:
        return data.translate(str.maketrans("+/", "-_")) if url_safe else data

    match item:
        case ("text", text):
            return {"text": text}
        case ("image", media, data):
            return {"inlineData": {"mimeType": media, "data": encoded(data)}}
        case ("image_url", url):
            return {"fileData": {"mimeType": "image/png", "fileUri": url}}
        case ("pdf", data):
            return {"inlineData": {"mimeType": "application/pdf", "data": encoded(data)}}
        case ("call", call, name, value):
            named = {"name": name, "args": value}
            return {"functionCall": {"id": call, **named} if ids else named}
        case (_, call, name, text, failed):
            answer = {"name": name, "response": {"error" if failed else "output": text}}
            return {"functionResponse": {"id": call, **answer} if ids else answer}
    raise AssertionError(item)


def as_gemini(said: list[Said], *, ids: bool = True, url_safe: bool = False) -> Value:
    """The conversation as a client of Gemini sends it, which knows no system turns in the middle."""
    first = leading(said)
    roles = {"assistant": "model", "results": "user"}

    def parts(one: Said) -> list[Value]:
        return [_gemini_part(item, ids=ids, url_safe=url_safe) for item in one.items]

    declared = [{"name": name, "parametersJsonSchema": SCHEMA} for name in TOOLS]
    body: Value = {
        "contents": [
            {"role": roles.get(one.role, one.role), "parts": parts(one)} for one in said[first:]
        ],
        "tools": [{"functionDeclarations": declared}],
    }
    if first:
        body["systemInstruction"] = {"parts": [part for one in said[:first] for part in parts(one)]}
    return body


# --- mistakes -----------------------------------------------------------------------------------

WRONG = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([0, -1, 1.5, 10**30, "", " ", "x", [], {}, [None], [[]], [{}], {"type": "x"}]),
    st.sampled_from(
        [{"type": None}, {"type": ["text"]}, {"type": {}}, [1, "a"], {"": ""}, "data:,"]
    ),
).map(copy.deepcopy)  # a drawn list may be changed by the next mistake


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every value inside this one."""
    if isinstance(value, dict):
        rows = list(value.items())
    else:
        rows = list(enumerate(value)) if isinstance(value, list) else []
    return [found for key, inner in rows for found in [(*path, key), *places(inner, (*path, key))]]


@st.composite
def mistaken(draw: st.DrawFn, body: Value) -> Value:
    """The body with one to three values replaced, removed, doubled or unheard of."""
    body = json.loads(json.dumps(body))
    for _ in range(draw(st.integers(1, 3))):
        found = places(body)
        if not found:
            break
        *above, last = draw(st.sampled_from(found))
        inside: Any = body
        for key in above:
            inside = inside[key]
        action = draw(st.sampled_from(["replace", "replace", "replace", "remove", "add"]))
        if action == "replace":
            inside[last] = draw(WRONG)
        elif action == "remove":
            del inside[last]
        elif isinstance(inside, dict):
            inside[draw(st.sampled_from(["unheard_of", "Type", "é"]))] = draw(WRONG)
        else:
            inside.insert(last, draw(WRONG))
    return body
