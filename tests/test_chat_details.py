"""`reasoning_details`: an answer that a client sends back is the turn that it was, block for block."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.lib.streaming._deltas import accumulate_delta

from isthmus.frontends import openai_chat
from isthmus.frontends.packing import packed
from isthmus.messages import Event, Message, collect, replay
from isthmus.turns import tool_input

from .strategies import MESSAGES, Stream, streams, texts, thoughts
from .test_openai_chat import asked, decoded, frames, streamed

Value = dict[str, Any]


def answered(message: Any) -> Value:
    """The assistant's message that a client keeps of a whole answer."""
    whole = json.loads(openai_chat.encode_message(asked(), message))
    return whole["choices"][0]["message"]


def accumulated(data: bytes) -> Value:
    """The assistant's message that the official SDK's stream helper makes of the deltas."""
    message: Any = {}
    for chunk in frames(data)[:-1]:
        for choice in chunk["choices"]:
            message = accumulate_delta(message, copy.deepcopy(choice["delta"]))
    return message


def turns(message: Value, **fields: Any) -> tuple[list[Value], list[str]]:
    """What a request with this answer in its history sends upstream, and its notes."""
    history = [{"role": "user", "content": "a"}, message, {"role": "user", "content": "b"}]
    request = decoded({"model": "m", "messages": history, **fields})
    return request.body.peek("messages"), [str(note) for note in request.notes.rows]


def sent_back(message: Value) -> list[Value]:
    """The blocks that the answer becomes; none, where it has none that can be sent."""
    found = turns(message)[0]
    return found[1]["content"] if found[1:] and found[1]["role"] == "assistant" else []


def sendable(message: Message) -> list[Value]:
    """The blocks of an answer that a request may hold, without what means nothing."""
    kept: list[Value] = []
    for block in message.get("content", ()):
        given = block.get("input")
        cut = hasattr(given, "text") and tool_input(given.text) is None
        if cut or (block["type"] == "text" and not block["text"].strip()):
            continue
        kept.append({k: v for k, v in block.items() if v is not None and k != "caller"})
    return kept


def plain(blocks: list[Value]) -> list[Value]:
    return [{k: v for k, v in block.items() if v is not None} for block in blocks]


def runs(message: Value) -> bool:
    """Whether every call of a message can be sent back: a limit may have cut its arguments off."""
    return all(
        tool_input(call["function"]["arguments"]) is not None
        for call in message.get("tool_calls") or ()
    )


@given(MESSAGES)
def test_an_answer_is_rebuilt_block_for_block(message: Message) -> None:
    if message.get("stop_reason") != "refusal":
        assert plain(sent_back(answered(message))) == sendable(message)


@given(streams())
def test_a_stream_that_the_sdk_joined_is_rebuilt_the_same(stream: Stream) -> None:
    events = [Event(value=value) for value in stream.values]
    joined = accumulated(streamed(asked(), events))
    whole = collect(stream.events)
    assert joined.get("reasoning_details") == answered(whole).get("reasoning_details")
    if runs(joined) and whole.get("stop_reason") != "refusal":
        assert plain(sent_back(joined)) == sendable(whole)


@given(streams(st.one_of(texts(), thoughts())))
def test_a_client_may_send_its_text_in_parts(stream: Stream) -> None:
    message = answered(stream.message)
    if message["refusal"] or not message["content"]:
        return
    parts = [{"type": "text", "text": message["content"]}]
    assert sent_back({**message, "content": parts}) == sent_back(message)


def test_only_what_there_is_to_carry_is_carried() -> None:
    content = [{"type": "text", "text": "Hello"}, {"type": "tool_use", "id": "a", "name": "b"}]
    message: Any = {"id": "msg_1", "model": "m", "content": content, "usage": {}}
    assert "reasoning_details" not in answered(message)
    unsigned = [{"type": "thinking", "thinking": "Hm.", "signature": ""}, *content]
    message["content"] = unsigned
    assert "reasoning_details" not in answered(message)
    assert answered(message)["reasoning_content"] == "Hm."


# --- what cannot be sent back -------------------------------------------------------------------

SIGNED = {
    "type": "reasoning.text",
    "text": "Hm.",
    "signature": "s",
    "format": "anthropic-claude-v1",
    "index": 0,
    "after": 0,
}
THOUGHT = {"type": "thinking", "thinking": "Hm.", "signature": "s"}
SAID = {"type": "text", "text": "Yes"}
REDACTED = {"type": "reasoning.encrypted", "data": "x", "format": "anthropic-claude-v1", "index": 1}

HIDDEN = {"type": "redacted_thinking", "data": "x"}
CITED: Value = {"type": "text", "text": "Ye", "citations": [{"type": "char_location"}]}
COMPACTED = {"type": "compaction", "content": "c"}


def own(value: Any) -> Value:
    return {"type": "reasoning.encrypted", "data": packed(value), "format": "isthmus-v1"}


@pytest.mark.parametrize(
    ("details", "blocks", "noted"),
    [
        ([SIGNED], [THOUGHT, SAID], []),
        ([{**SIGNED, "text": ""}], [{**THOUGHT, "thinking": ""}, SAID], []),
        ([{**SIGNED, "text": None}], [{**THOUGHT, "thinking": ""}, SAID], []),
        ([{**SIGNED, "after": 1}], [{**SAID, "text": "Y"}, THOUGHT, {**SAID, "text": "es"}], []),
        ([{**SIGNED, "after": 3}], [SAID, THOUGHT], []),
        ([{k: v for k, v in SIGNED.items() if k not in ("index", "after")}], [THOUGHT, SAID], []),
        ([{**SIGNED, "signature": None}], [SAID], [".0"]),
        ([{**SIGNED, "signature": ""}], [SAID], [".0"]),
        ([{k: v for k, v in SIGNED.items() if k != "signature"}], [SAID], [".0"]),
        ([{**SIGNED, "signature": 3}], [SAID], [".0"]),
        ([{**SIGNED, "text": 3}], [SAID], [".0"]),
        ([{**SIGNED, "format": "openai-responses-v1"}], [SAID], [".0"]),
        ([{**SIGNED, "format": None}], [SAID], [".0"]),
        ([{"type": "reasoning.summary", "summary": "Hm."}], [SAID], [".0"]),
        ([{**SIGNED, "signature": None}, REDACTED], [HIDDEN, SAID], [".0"]),
        ([{**SIGNED, "after": 4}], [SAID], [""]),
        ([{**SIGNED, "after": -1}], [SAID], [""]),
        ([{**SIGNED, "after": "0"}], [SAID], [""]),
        ([{**SIGNED, "after": True}], [SAID], [""]),
        ([{**SIGNED, "calls": 1}], [SAID], [""]),
        ([{**SIGNED, "calls": None}], [SAID], [""]),
        ([{**SIGNED, "index": 1}], [SAID], [""]),
        ([{**SIGNED, "after": 2}, {**SIGNED, "index": 1, "after": 1}], [SAID], [""]),
        ([own(COMPACTED)], [COMPACTED, SAID], []),
        ([own(CITED)], [CITED, {**SAID, "text": "s"}], []),
        ([own({"type": "text", "text": "No"})], [SAID], [""]),
        ([own({"type": "text", "text": "Yes!"})], [SAID], [""]),
        ([own({"type": "text", "text": ""})], [SAID], [".0"]),
        ([own({"type": "thinking", "thinking": "Hm.", "signature": "s"})], [SAID], [".0"]),
        ([own({"type": "tool_use", "id": "a", "name": "b", "input": {}})], [SAID], [".0"]),
        ([own({"type": 3})], [SAID], [".0"]),
        ([own([1])], [SAID], [".0"]),
        ([{**own({}), "data": "AAAA"}], [SAID], [".0"]),
        ([{**own({}), "data": None}], [SAID], [".0"]),
        ([None, 3, "x", []], [SAID], [".0", ".1", ".2", ".3"]),
        ("x", [SAID], [""]),
        ({"type": "reasoning.text"}, [SAID], [""]),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_dropped_and_never_refused(
    details: Any, blocks: list[Value], noted: list[str]
) -> None:
    message = {"role": "assistant", "content": "Yes", "reasoning_details": details}
    found, notes = turns(message)
    assert found[1]["content"] == blocks
    path = "messages.1.reasoning_details"
    assert [note.split(" ")[0] for note in notes] == [path + end for end in noted]


LITELLM = {"type": "thinking", "thinking": "Hm.", "signature": "s"}


@pytest.mark.parametrize(
    ("thinking", "blocks", "noted"),
    [
        ([LITELLM], [THOUGHT, SAID], []),
        ([{**LITELLM, "cache_control": None}], [THOUGHT, SAID], []),
        (
            [{"type": "redacted_thinking", "data": "x"}, {**LITELLM, "thinking": ""}],
            [{"type": "redacted_thinking", "data": "x"}, {**THOUGHT, "thinking": ""}, SAID],
            [],
        ),
        (
            [{**LITELLM, "signature": None}, {"type": "redacted_thinking", "data": "x"}],
            [{"type": "redacted_thinking", "data": "x"}, SAID],
            [".0"],
        ),
        ([{**LITELLM, "signature": ""}, None], [SAID], [".0", ".1"]),
        ([{"type": "redacted_thinking"}, {"type": "thinking"}], [SAID], [".0", ".1"]),
        ("x", [SAID], [".0"]),
    ],
)
def test_thinking_blocks_are_sent_first(
    thinking: Any, blocks: list[Value], noted: list[str]
) -> None:
    found, notes = turns({"role": "assistant", "content": "Yes", "thinking_blocks": thinking})
    assert found[1]["content"] == blocks
    path = "messages.1.thinking_blocks"
    assert [note.split(" ")[0] for note in notes] == [path + end for end in noted]


def test_of_both_side_fields_the_precise_one_counts() -> None:
    message = {"role": "assistant", "content": "Yes", "thinking_blocks": [LITELLM]}
    found, notes = turns({**message, "reasoning_details": [{**SIGNED, "text": "Oh."}]})
    assert found[1]["content"] == [{**THOUGHT, "thinking": "Oh."}, SAID]
    assert notes == ["messages.1.thinking_blocks dropped: reasoning_details counts"]
    foreign = [{**SIGNED, "format": "openai-responses-v1"}]
    found, notes = turns({**message, "reasoning_details": foreign})
    assert found[1]["content"] == [THOUGHT, SAID]
    assert [note.split(" ")[0] for note in notes] == ["messages.1.reasoning_details.0"]


def test_what_came_with_its_blocks_has_no_note() -> None:
    shown = {"reasoning_content": "Hm.", "annotations": [{"type": "url_citation"}]}
    message = {"role": "assistant", "content": "Yes", **shown, "reasoning_details": [SIGNED]}
    assert turns(message)[1] == ["messages.1.annotations dropped: citations are not sent back"]
    cited = own({**SAID, "citations": [{"type": "web_search_result_location"}]})
    message["reasoning_details"] = [SIGNED, cited]
    assert turns(message)[1] == []
    del message["reasoning_details"]
    assert [note.split(" ")[0] for note in turns(message)[1]] == [
        "messages.1.reasoning_content",
        "messages.1.annotations",
    ]


def test_a_cache_marker_stays_where_text_ends() -> None:
    mark = {"type": "ephemeral"}
    message: Any = {"role": "assistant", "reasoning_details": [{**SIGNED, "after": 1}]}
    message["content"] = [{**SAID, "cache_control": mark}]
    one, thought, other = turns(message)[0][1]["content"]
    assert (one, thought) == ({**SAID, "text": "Y"}, THOUGHT)
    assert other == {**SAID, "text": "es", "cache_control": mark}
    message = {"role": "assistant", "content": "", "cache_control": mark}
    found, notes = turns({**message, "reasoning_details": [SIGNED]})
    assert found[1]["content"] == [THOUGHT]
    assert notes == ["messages.1.cache_control dropped: the message has no content"]


def test_replay_and_stream_are_alike() -> None:
    """A whole answer and the stream of it hold the same entries, whatever its blocks."""
    blocks = [
        {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"q": 1}},
        {"type": "fallback", "from": {"model": "a"}, "to": {"model": "b"}},
        {"type": "compaction", "content": None, "encrypted_content": "e"},
        {"type": "tool_use", "id": "toolu_1", "name": "clock", "input": {}},
        THOUGHT,
        {"type": "text", "text": "a"},
        {"type": "text", "text": "b"},
    ]
    message: Any = {"id": "msg_1", "model": "m", "content": blocks, "usage": {}}
    message |= {"stop_reason": "tool_use", "stop_sequence": None, "role": "assistant"}
    message["usage"] = {"input_tokens": 1, "output_tokens": 1}
    whole = answered(message)
    joined = accumulated(streamed(asked(), replay(message)))
    assert joined["reasoning_details"] == whole["reasoning_details"]
    assert sent_back(whole) == blocks
    assert [entry.get("calls", 0) for entry in whole["reasoning_details"]] == [0, 0, 0, 1, 1]
