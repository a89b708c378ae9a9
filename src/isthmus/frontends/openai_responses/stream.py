"""Writes answers in the Responses dialect: numbered server-sent events, whole responses, counts.

Source: OpenAI's API reference (streaming events, count input tokens).
"""

from __future__ import annotations

from isthmus import wire
from isthmus.errors import GatewayError
from isthmus.frontends.openai_responses.answer import Answer
from isthmus.frontends.openai_responses.output import Events
from isthmus.messages import Event, Message, replay, stream_error
from isthmus.request import Request


class Encoder:
    """Turns events into the dialect's, each sent as it comes; the last holds the whole response."""

    content_type = "text/event-stream; charset=utf-8"

    def __init__(self, request: Request) -> None:
        self._answer = Answer(request)
        self._number = 0
        self._ended = False

    def feed(self, event: Event) -> bytes:
        """The bytes of one event. A ping becomes a comment, so that the client sees it too."""
        kind = event.type
        if self._ended:
            return b""
        if kind == "ping":
            return b": ping\n\n"
        if kind == "error":
            return self.fail(stream_error(event))
        self._ended = kind == "message_stop"
        return self._framed(self._answer.feed(event))

    def fail(self, error: GatewayError) -> bytes:
        """``response.failed`` with what had come, or a bare error where no response had begun."""
        if self._ended:
            return b""
        self._ended = True
        return self._framed(self._answer.fail(error))

    def keep_alive(self) -> bytes:
        return b": keep-alive\n\n"

    def _framed(self, events: Events) -> bytes:
        frames: list[bytes] = []
        for event in events:
            numbered = {"type": event["type"], "sequence_number": self._number, **event}
            frames.append(wire.frame(wire.dumps(numbered), event["type"]))
            self._number += 1
        return b"".join(frames)


def encoder(request: Request) -> Encoder:
    return Encoder(request)


def encode_message(request: Request, message: Message) -> bytes:
    """The response object of a complete answer: what its stream would have ended with."""
    answer = Answer(request)
    for event in replay(message):
        answer.feed(event)
    return wire.dumps(answer.response)


def encode_count(request: Request, tokens: int) -> bytes:
    return wire.dumps({"object": "response.input_tokens", "input_tokens": tokens})
