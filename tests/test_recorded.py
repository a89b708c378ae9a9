"""What the real providers sent, where the recordings are at hand: an oracle that we did not write.

The folder stands beside the checkout and is no part of it; without it these tests are skipped.
"""

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from isthmus.dialects import BACKENDS
from isthmus.errors import GatewayError
from isthmus.messages import Event, Reader, collect, input_text, replay
from isthmus.request import Body, Notes, Target

from . import legality
from .test_laws import CLIENTS, Client, alike, streamed

FOLDER = Path(__file__).resolve().parents[2] / "shared" / "recorded"
EACH_CLIENT = pytest.mark.parametrize("client", CLIENTS.values(), ids=CLIENTS)
Value = dict[str, Any]

pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="no recordings beside the checkout")


@cache
def recorded(dialect: str) -> dict[str, Value]:
    """Every recorded exchange of one dialect, by the name of its file."""
    found = sorted((FOLDER / dialect).glob("*.json"))
    return {path.stem: json.loads(path.read_text()) for path in found}


def answers(dialect: str, kind: type, path: str) -> dict[str, Any]:
    """The bodies of the successful answers of one kind: dict for whole ones, str for streams."""
    return {
        name: one["response"]["body"]
        for name, one in recorded(dialect).items()
        if one["response"]["status"] == 200
        and path in one["request"]["url"]
        and isinstance(one["response"]["body"], kind)
    }


def messages() -> dict[str, Value]:
    found = answers("anthropic", dict, "/v1/messages")
    return {name: body for name, body in found.items() if body.get("type") == "message"}


def message_streams() -> dict[str, bytes]:
    found = answers("anthropic", str, "/v1/messages")
    return {name: body.encode() for name, body in found.items()}


def decoded(body: bytes) -> list[Event]:
    # For a client of another dialect each frame is an event of its own.
    decoder = BACKENDS["anthropic"].decoder(CLIENTS["openai-chat"].request)
    events = decoder.feed(body)
    assert decoder.failure is None
    decoder.finish()
    return events


def test_there_is_something_to_read() -> None:
    assert messages()
    assert message_streams()


# --- the oracle of our own tests is legal itself ------------------------------------------------


def test_what_the_providers_streamed_is_legal_in_their_dialect() -> None:
    for body in message_streams().values():
        assert legality.anthropic(body).error is None
    for body in answers("openai_chat", str, "/chat/completions").values():
        assert legality.chat(body.replace("\r\n", "\n").encode()).error is None
    for body in answers("gemini", str, ":streamGenerateContent").values():
        data = body.replace("\r\n", "\n").encode()
        assert legality.gemini_sse(data, strict=False).error is None


def counted(response: Value) -> Value:
    """A recorded response with the one count that is younger than the recordings."""
    usage = response.get("usage") or {"input_tokens_details": {}}
    usage["input_tokens_details"].setdefault("cache_write_tokens", 0)
    return response


def test_what_the_providers_answered_is_legal_in_their_dialect() -> None:
    for body in answers("openai_chat", dict, "/chat/completions").values():
        legality.chat_completion(json.dumps(body).encode())
    for body in answers("openai_responses", dict, "/responses").values():
        if body.get("status") in ("completed", "incomplete"):
            legality.whole_response(json.dumps(counted(body)).encode())
    for body in answers("gemini", dict, ":generateContent").values():
        legality.gemini_response(json.dumps(body).encode())


HOSTED = ("web_search_call", "file_search_call", "code_interpreter_call", "mcp_", "response.queued")
"""What only OpenAI's own streams hold; without a number are those that are older than numbers."""


def plain(value: Any) -> Any:
    """An event without what OpenAI writes anew each time, or tells in the event alone."""
    if isinstance(value, dict):
        members = {k: plain(v) for k, v in value.items() if k not in ("encrypted_content", "usage")}
        return {**members, "logprobs": []} if "logprobs" in members else members
    return [plain(inner) for inner in value] if isinstance(value, list) else value


def test_responses_that_were_streamed_are_legal() -> None:
    read = 0
    for body in answers("openai_responses", str, "/responses").values():
        if any(name in body for name in HOSTED) or '"sequence_number"' not in body:
            continue
        found = legality.frames(body.replace("\r\n", "\n").encode())
        events = [(name, plain(json.loads(text))) for name, text in found]
        data = "".join(f"event: {n}\ndata: {json.dumps(value)}\n\n" for n, value in events)
        assert legality.responses(data.encode()).error is None
        read += 1
    assert read >= 5


# --- Anthropic's streams and messages -----------------------------------------------------------


def test_recorded_streams_are_legal_and_join_as_the_client_joins_them() -> None:
    for name, body in message_streams().items():
        message = collect(decoded(body))
        outcome = legality.anthropic(body)
        assert message == outcome.message, name
        found = [input_text(block["input"]) for block in message["content"] if "input" in block]
        assert tuple(found) == outcome.arguments, name
        assert collect(replay(message)) == message, name


def test_recorded_streams_are_relayed_as_they_came() -> None:
    for body in message_streams().values():
        assert b"".join(event.wire for event in decoded(body)) == body


def test_recorded_streams_read_the_same_in_any_pieces() -> None:
    for name, body in message_streams().items():
        whole = decoded(body)
        for size in (1, 7, 64):
            pieces = [body[i : i + size] for i in range(0, len(body), size)]
            decoder = BACKENDS["anthropic"].decoder(CLIENTS["openai-chat"].request)
            found = [event.wire for piece in pieces for event in decoder.feed(piece)]
            assert found == [event.wire for event in whole], name
            decoder = BACKENDS["anthropic"].decoder(CLIENTS["openai-chat"].request)
            native = b"".join(event.wire for piece in pieces for event in decoder.feed(piece))
            assert native == b"".join(found), name


@EACH_CLIENT
def test_recorded_streams_survive_every_encoder(client: Client) -> None:
    for body in message_streams().values():
        events = decoded(body)
        outcome = client.stream(streamed(client, events))
        assert outcome.error is None
        assert alike(
            client, outcome, client.frontend.encode_message(client.request, collect(events))
        )


@EACH_CLIENT
def test_recorded_messages_survive_every_encoder(client: Client) -> None:
    for name, message in messages().items():
        whole: Any = message
        outcome = client.stream(streamed(client, replay(whole)))
        assert alike(client, outcome, client.frontend.encode_message(client.request, whole)), name


def test_recorded_messages_replay_to_a_legal_stream_of_themselves() -> None:
    for name, message in messages().items():
        body = b"".join(event.wire for event in replay(message))  # pyright: ignore
        expected = {"stop_sequence": None, **message}
        assert collect(decoded(body)) == expected, name
        assert legality.anthropic(body).message == expected, name


def test_no_text_of_a_recorded_message_is_lost() -> None:
    for message in messages().values():
        text = "".join(block["text"] for block in message["content"] if block["type"] == "text")
        for client in CLIENTS.values():
            whole: Any = message
            body = client.frontend.encode_message(client.request, whole)
            said = client.whole(body)
            if client.dialect == "openai-chat":
                assert (said["choices"][0]["message"]["content"] or "") == text
            elif client.dialect == "openai-responses":
                items = [item for item in said["output"] if item["type"] == "message"]
                parts = [part for item in items for part in item["content"]]
                assert "".join(part.get("text", "") for part in parts) == text
            elif client.dialect == "gemini":
                parts = said["candidates"][0]["content"].get("parts", [])
                shown = [part["text"] for part in parts if "text" in part and "thought" not in part]
                assert "".join(shown) == text


# --- requests -----------------------------------------------------------------------------------


def requests(dialect: str, path: str) -> dict[str, Value]:
    return {
        name: one["request"]["body"]
        for name, one in recorded(dialect).items()
        if path in one["request"]["url"] and isinstance(one["request"]["body"], dict)
    }


def test_recorded_requests_pass_unedited() -> None:
    client, backend = CLIENTS["anthropic"], BACKENDS["anthropic"]
    for name, body in requests("anthropic", "/v1/messages").items():
        for source in (json.dumps(body).encode(), json.dumps(body, indent=2).encode()):
            assert Body(source).wire() is source
            assert Body(source).value() == body
            if "max_tokens" not in body:
                continue
            notes = Notes()
            http = backend.encode(client.decode(source), Target("anthropic", body["model"]), notes)
            assert http.body == source, name
            assert notes.rows == []


FOREIGN = [
    ("openai_chat", "/chat/completions", "openai-chat"),
    ("compatible", "/chat/completions", "openai-chat"),
    ("gemini", "enerateContent", "gemini"),
    ("openai_responses", "/responses", "openai-responses"),
]


@pytest.mark.parametrize(("folder", "path", "dialect"), FOREIGN)
def test_recorded_requests_of_others_are_read_or_refused_by_a_path(
    folder: str, path: str, dialect: str
) -> None:
    client = CLIENTS[dialect]
    read = 0
    bodies = requests(folder, path)
    for name, body in bodies.items():
        try:
            request = client.decode(body)
            BACKENDS["anthropic"].encode(request, Target("anthropic", "claude-opus-5-5"), Notes())
        except GatewayError as error:
            assert error.row.status == 400, name
            assert error.param, name
        else:
            read += 1
    assert read >= len(bodies) // 2


@pytest.mark.parametrize("folder", ["openai_chat", "compatible", "gemini", "openai_responses"])
def test_streams_of_other_protocols_are_no_messages(folder: str) -> None:
    """A backend that is configured with the wrong type is told from one that works."""
    for one in recorded(folder).values():
        body = one["response"]["body"]
        if not isinstance(body, str):
            continue
        decoder = BACKENDS["anthropic"].decoder(CLIENTS["openai-chat"].request)
        reader = Reader()
        with pytest.raises(GatewayError) as caught:  # noqa: PT012 - whichever of them finds it
            for event in decoder.feed(body.encode()):
                reader.feed(event)
            if decoder.failure:
                raise decoder.failure
            decoder.finish()
        assert caught.value.source == "upstream"
