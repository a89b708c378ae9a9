"""Which key a conversation gets, and that it keeps it."""

from __future__ import annotations

import asyncio

from isthmus.pipeline import Answer, Call, compose
from isthmus.request import Body, Headers, Request, Target
from isthmus.steps.key import choose_key

KEYS = tuple(f"key-{n}" for n in range(4))


def request(text: str, turns: int = 1, headers: Headers = ()) -> Request:
    messages = [{"role": "user", "content": text}] * turns
    return Request(
        dialect="anthropic",
        body=Body({"messages": messages}),
        model="m",
        stream=False,
        headers=headers,
        target=Target("a", "m"),
    )


def chosen(asked: Request, keys: tuple[str, ...] = KEYS) -> str:
    seen: list[str] = []

    async def call(request: Request) -> Answer:
        seen.append(request.key)
        return Answer(200, (), Target("a", "m"), lambda: None)

    step: Call = compose([choose_key({"a": keys})], call)
    asyncio.run(step(asked))
    return seen[0]


def test_a_single_key_is_the_key() -> None:
    assert chosen(request("x"), ("only",)) == "only"


def test_a_conversation_keeps_its_key_as_it_grows() -> None:
    long = "lorem " * 1000
    for text in ("", "hi", "a" * 3000, long, long + "b"):
        assert len({chosen(request(text, turns)) for turns in (1, 2, 9)}) == 1


def test_so_does_a_conversation_of_a_claude_client() -> None:
    asked = request("hi")
    for body in (b'{"messages":[{"role": "user"} ]}', b'{"messages":[{"role": "user"},1]}'):
        asked.body = Body(body)
        assert chosen(asked) == chosen(asked)
    assert Body(body).first("messages") == b'{"role": "user"}'
    assert Body(b'{"a":[]}').first("a") == Body(b'{"a":1}').first("a") == b""


def test_a_session_keeps_its_key_whatever_it_says() -> None:
    session = (("x-claude-code-session-id", "s1"),)
    assert len({chosen(request(text, headers=session)) for text in "abcdefgh"}) == 1


def test_conversations_spread_over_all_keys() -> None:
    assert {chosen(request(f"conversation {n}")) for n in range(100)} == set(KEYS)


def test_taking_a_key_away_moves_only_its_own_conversations() -> None:
    for n in range(50):
        asked = request(f"conversation {n}")
        before = chosen(asked)
        if before != KEYS[0]:
            assert chosen(asked, KEYS[1:]) == before
