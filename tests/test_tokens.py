"""How many tokens a prompt is estimated to have, and how that compares with real usage."""

from __future__ import annotations

import json
import time
from base64 import b64encode
from statistics import median
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.errors import GatewayError
from isthmus.rates import rates_of
from isthmus.request import Body
from isthmus.tokens import (
    FAR_PAGES,
    MOST_PAGES,
    Estimate,
    estimate,
    may_exceed,
    prompt_tokens,
)

from . import test_recorded as recorded
from .test_dimensions import PNG

MODEL = "claude-sonnet-4-5"
RATES = rates_of(MODEL)
Value = dict[str, Any]
WORDS = "a road between two oceans "
CALL = {"type": "tool_use", "id": "toolu_1", "name": "read", "input": {"path": "/etc/hosts"}}


def counted(model: str = MODEL, **body: Any) -> Estimate:
    """The estimate of a body, which must be the same from its bytes and from its values."""
    found = estimate(Body(json.dumps(body).encode()), model)
    assert estimate(Body(body), model) == found
    return found


def said(*blocks: Any, role: str = "user") -> Value:
    return {"role": role, "content": list(blocks)}


def tokens(*blocks: Any) -> int:
    """What blocks add to a prompt."""
    return counted(messages=[said(*blocks)]).tokens - counted(messages=[said()]).tokens


def text(words: int) -> Value:
    return {"type": "text", "text": WORDS * words}


def result(content: Any) -> Value:
    return {"type": "tool_result", "tool_use_id": "toolu_1", "content": content}


def picture(data: bytes) -> Value:
    source = {"type": "base64", "media_type": "image/png", "data": b64encode(data).decode()}
    return {"type": "image", "source": source}


def document(**source: Any) -> Value:
    return {"type": "document", "source": source}


PDF = b64encode(b"%PDF-1.4 " + b"<</Type /Page>>" * 3).decode()
SEALED = b64encode(bytes(range(256)) * 40).decode()
URL = {"type": "url", "url": "https://pages.test/a"}


# --- what counts --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "block",
    [
        text(400),
        result(WORDS * 400),
        result([text(400)]),
        result([{"type": "search_result", "source": "s", "title": "t", "content": [text(400)]}]),
        {**CALL, "input": {"text": WORDS * 400}},
        {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"q": WORDS * 400}},
        {"type": "mcp_tool_result", "tool_use_id": "m", "content": [text(400)]},
        {"type": "bash_code_execution_tool_result", "content": {"stdout": WORDS * 400}},
        document(type="text", media_type="text/plain", data=WORDS * 400),
        document(type="content", content=WORDS * 400),
        document(type="content", content=[text(400)]),
        {**document(type="text", data=""), "title": WORDS * 200, "context": WORDS * 200},
        {"type": "search_result", "source": WORDS * 200, "title": WORDS * 200, "content": []},
        {"type": "web_fetch_tool_result", "content": {"type": "web_fetch_result", "content": document(
            type="text", data=WORDS * 400)}},
        {"type": "compaction", "content": WORDS * 400},
        {"type": "block_of_next_year", "fields": [WORDS * 400]},
        {"type": "block_of_next_year", "content": {"deep": {"within": WORDS * 400}}},
    ],
    ids=lambda block: block["type"],
)  # fmt: skip
def test_text_counts_wherever_it_stands(block: Value) -> None:
    assert tokens(block) == pytest.approx(400 * len(WORDS) * RATES.letter, abs=80)


@pytest.mark.parametrize(
    ("body", "least"),
    [
        ({"system": WORDS * 400}, 2000),
        ({"system": [text(400)]}, 2000),
        ({"tools": [{"name": "f", "description": WORDS * 400}]}, 2500),
        ({"tools": [{"name": "f", "input_schema": {"properties": {WORDS: {"a": WORDS * 400}}}}]}, 2500),
        ({"tools": [{"name": "f", "input_examples": [{"a": WORDS * 400}]}]}, 2500),
        ({"output_config": {"format": {"schema": {"description": WORDS * 400}}}}, 2000),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, 2700),
        ({"tools": [{"type": "tool_of_next_year"}]}, 1500),
        ({"mcp_servers": [{"type": "url", "url": "https://m.test"}]}, 3000),
    ],
)  # fmt: skip
def test_all_of_a_body_counts(body: Value, least: int) -> None:
    assert least <= counted(messages=[], **body).tokens <= least * 1.15


def test_cache_marks_and_citations_do_not_count() -> None:
    mark = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}
    plain, cited = text(5), {**text(5), "citations": [{"cited_text": WORDS * 100}]}
    assert tokens(plain) == tokens({**plain, **mark}) == tokens(cited)
    tool = {"name": "f", "input_schema": {"type": "object"}}
    assert counted(messages=[], tools=[tool]) == counted(messages=[], tools=[{**tool, **mark}])


def test_a_picture_counts_by_its_size() -> None:
    assert tokens(picture(PNG)) == 29 * 22  # 800 x 600 in squares of 28
    assert tokens(result([picture(PNG)])) > 29 * 22
    large = PNG.replace(PNG[16:24], bytes([0, 0, 0x20, 0, 0, 0, 0x20, 0]))
    assert tokens(picture(large)) == RATES.patches
    newer = counted("claude-opus-5-5", messages=[said(picture(large))]).tokens
    assert newer == pytest.approx(4784, abs=20)
    assert counted(messages=[said(picture(PNG))]).trust == "sure"


@pytest.mark.parametrize(
    ("block", "cost"),
    [
        ({"type": "image", "source": URL}, RATES.patches),
        ({"type": "image", "source": {"type": "file", "file_id": "f"}}, RATES.patches),
        (picture(b"no picture"), RATES.patches),
        ({"type": "image"}, RATES.patches),
        (document(type="base64", media_type="application/pdf", data=PDF), RATES.page * 3),
        (document(type="base64", data=b64encode(bytes(30_000)).decode()), RATES.page * 2),
        (document(type="base64", data="A" * 13_000_000), RATES.page * MOST_PAGES),
        (document(**URL), RATES.page * FAR_PAGES),
        (document(type="file", file_id="f"), RATES.page * FAR_PAGES),
    ],
)
def test_what_only_the_provider_sees_has_a_stated_figure(block: Value, cost: int) -> None:
    assert tokens(block) == cost
    assert counted(messages=[said(block)]).trust == "rough"


def test_only_the_thinking_of_the_turn_under_way_counts() -> None:
    thought = {"type": "thinking", "thinking": WORDS * 400, "signature": ""}
    omitted = {"type": "thinking", "thinking": "", "signature": SEALED}
    redacted = {"type": "redacted_thinking", "data": SEALED}
    for block, cost in ((thought, 2080), (omitted, 2000), (redacted, 2000)):
        loop = [said(text(1)), said(block, CALL, role="assistant"), said(result("x"))]
        bare = [said(text(1)), said(CALL, role="assistant"), said(result("x"))]
        more = counted(messages=loop).tokens - counted(messages=bare).tokens
        assert more == pytest.approx(cost, abs=60)
        over = [said(text(1)), said(block, role="assistant"), said(text(1))]
        assert counted(messages=over).tokens < 50


def test_what_a_compaction_replaced_does_not_count() -> None:
    replaced = said({"type": "compaction", "content": "so far"}, role="assistant")
    empty = said({"type": "compaction", "content": None}, role="assistant")
    after = said(text(1))
    assert counted(messages=[said(text(400)), replaced, after]).tokens < 60
    assert counted(messages=[said(text(400)), empty, after]).tokens > 2000


def test_a_deferred_tool_counts_once_it_is_referred_to() -> None:
    tool = {"name": "later", "description": WORDS * 400, "defer_loading": True}
    assert counted(messages=[], tools=[tool]).tokens < 600
    reference = {"type": "tool_reference", "tool_name": "later"}
    found = [said(result([reference]))]
    assert counted(messages=found, tools=[tool]).tokens > 2500


def test_sealed_text_counts_as_the_text_that_it_hides() -> None:
    found = {"type": "web_search_result", "title": "t", "url": "u", "encrypted_content": SEALED}
    block = {"type": "web_search_tool_result", "tool_use_id": "s", "content": [found]}
    assert tokens(block) == pytest.approx(len(SEALED) * 3 / 4 * RATES.letter, abs=80)


@pytest.mark.parametrize(
    ("fields", "trust"),
    [
        ({}, "sure"),
        ({"tools": [{"type": "custom", "name": "f"}]}, "sure"),
        ({"tools": [{"type": "memory_20250818", "name": "memory"}]}, "rough"),
        ({"mcp_servers": [{}]}, "rough"),
        ({"context_management": {"edits": [{"type": "clear_thinking_20251015"}]}}, "sure"),
        ({"context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]}}, "open"),
        ({"context_management": {"edits": [{"type": "compact_20260112"}]}, "mcp_servers": [1]}, "open"),
    ],
)  # fmt: skip
def test_an_estimate_says_what_it_is_worth(fields: Value, trust: str) -> None:
    assert counted(messages=[said(text(1))], **fields).trust == trust


# --- what is malformed --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        {"messages": None},
        {"messages": "text"},
        {"messages": [None, 5, "x", [], {"role": 5}, {"content": 7}, {"content": {"a": 1}}]},
        {"messages": [said(None, 5, [1], {"type": None}, {"type": ["x"]}, {"type": "text"})]},
        {"messages": [said({"type": "text", "text": {"a": 1}}, {"type": "image", "source": 5})]},
        {"messages": [said({"type": "document", "source": []}, {"type": "thinking"}, result(5))]},
        {"messages": [said(result({"type": "text"}), {"type": "tool_use", "input": "x"})]},
        {"messages": [], "tools": {"a": 1}, "system": 5, "mcp_servers": "x"},
        {"messages": [], "tools": [None, "x", {"type": 5}], "output_config": []},
        {"messages": [], "context_management": {"edits": [None, {"type": 5}]}, "thinking": "on"},
        {"messages": [said({"type": "compaction", "content": 5, "signature": 7})]},
    ],
)
def test_a_malformed_body_is_no_failure(body: Value) -> None:
    assert counted(**body).tokens < 30_000


def test_deep_nesting_is_no_failure() -> None:
    content: Any = WORDS
    for _ in range(150):
        content = [result(content)]
    assert counted(messages=[said(*content)]).tokens > 150


def test_a_member_that_stands_twice_is_refused() -> None:
    with pytest.raises(GatewayError, match="stands twice"):
        estimate(Body(b'{"messages":[],"messages":[]}'), MODEL)


# --- the bound that needs no decoding -----------------------------------------------------------

LEAVES = st.one_of(
    st.text(max_size=200),
    st.sampled_from([WORDS * 20, SEALED[:3000], "\u4e2d" * 300, '{"a":[1,2]}' * 40]),
)
BLOCKS = st.one_of(
    st.builds(lambda value: {"type": "text", "text": value}, LEAVES),
    st.builds(result, LEAVES),
    st.builds(lambda value: {**CALL, "input": {"x": value}}, LEAVES),
    st.builds(lambda value: {"type": "thinking", "thinking": value, "signature": value}, LEAVES),
    st.just({"type": "image", "source": URL}),
)


@given(
    st.lists(st.lists(BLOCKS, max_size=4), max_size=4),
    st.sampled_from([MODEL, "claude-opus-5-5", "gpt-6"]),
    st.sampled_from([[], [{"type": "web_search_20250305"}], [{"name": "f"}]]),
)
def test_the_estimate_keeps_to_the_bound(turns: list[Any], model: str, tools: list[Any]) -> None:
    """Where the bytes say that a prompt fits, the estimate says so too."""
    body = {"messages": [said(*blocks) for blocks in turns], "tools": tools}
    wire = Body(json.dumps(body).encode())
    found = estimate(wire, model).tokens
    assert may_exceed(wire.wire(), found - 1)
    assert may_exceed(Body(body).wire(), found - 1)


@pytest.mark.parametrize(
    ("body", "may"),
    [
        (b'{"messages":"' + b"x" * 170_000 + b'"}', False),
        (b'{"messages":"' + b"x" * 180_000 + b'"}', True),
        (b'{"messages":[' + b'{"type":"image"},' * 30 + b"0]}", False),
        (b'{"messages":[' + b'{"type":"image"},' * 40 + b"0]}", True),
        (b'{"messages":[{"type":"document"}]}', True),
        (b'{"messages":[{"type" :\t"document"}]}', True),
        (b'{"tools":[{"document":1,"image":["document"]}],"messages":[]}', False),
        (b'{"messages":[],"mcp_servers":[]}', True),
        (b'{"messages":["a \\"document\\" and an \\"image\\""]}', False),
    ],
)
def test_bytes_tell_what_fits(body: bytes, may: bool) -> None:
    assert may_exceed(Body(body).wire(), 200_000) is may


def test_the_cost_grows_with_the_bytes() -> None:
    """A megabyte takes 10 ms where nothing else runs; four times as much no more than so often."""
    turns = [said(text(20)), said(CALL, role="assistant"), said(result(WORDS * 60))]

    def seconds(times: int) -> float:
        body = Body(json.dumps({"messages": turns * times}).encode())
        began = time.perf_counter()
        estimate(body, MODEL)
        return time.perf_counter() - began

    once = min(seconds(450) for _ in range(3))
    assert once < 0.25
    assert min(seconds(1800) for _ in range(3)) < 10 * once


# --- real usage ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("usage", "total"),
    [
        ({"input_tokens": 5}, 5),
        (
            {
                "input_tokens": 5,
                "cache_read_input_tokens": 100,
                "cache_creation_input_tokens": None,
            },
            105,
        ),
        ({"input_tokens": 5, "cache_creation_input_tokens": 7, "output_tokens": 9}, 12),
        ({"output_tokens": 5}, None),
        ({"input_tokens": True}, None),
        ({"input_tokens": "5"}, None),
        ([], None),
        (None, None),
    ],
)
def test_a_prompt_is_all_of_its_parts(usage: Any, total: int | None) -> None:
    assert prompt_tokens(usage) == total


def real_prompts() -> list[tuple[Value, int]]:
    """Each recorded body with the tokens that the provider counted."""
    rows: dict[str, tuple[Value, int]] = {}
    for one in recorded.recorded("anthropic").values():
        body, answer = one["request"]["body"], one["response"]["body"]
        if not body or one["response"]["status"] != 200:
            continue
        if isinstance(answer, str):
            start = next(line for line in answer.splitlines() if '"message_start"' in line[5:])
            answer = json.loads(start.removeprefix("data:"))["message"]
        used = prompt_tokens(answer.get("usage", answer))
        if used is not None:
            rows[json.dumps(body)] = body, used
    return list(rows.values())


@pytest.mark.skipif(not recorded.FOLDER.is_dir(), reason="no recordings beside the checkout")
def test_recorded_prompts_are_estimated_well() -> None:
    """What docs/context-window-enforcement.md says of the error."""
    errors: list[tuple[float, int]] = []
    for body, used in real_prompts():
        found = estimate(Body(body), body["model"])
        if found.trust == "sure":
            errors.append((abs(found.tokens - used) / used, abs(found.tokens - used)))
    assert len(errors) > 70
    assert median(share for share, _ in errors) < 0.06
    assert sorted(tokens for _, tokens in errors)[int(0.95 * len(errors))] < 230
    assert max(tokens for _, tokens in errors) < 250
