"""What tells a conversation from others: the same from turn to turn, and another's never."""

from __future__ import annotations

from isthmus.request import Body, Headers, Request
from isthmus.routing.conversation import Conversation


def conversation(
    text: str, turns: int = 1, headers: Headers = (), caller: str = "one"
) -> Conversation:
    messages = [{"role": "user", "content": text}] * turns
    body = Body({"messages": messages})
    return Conversation(Request("anthropic", body, "m", False, headers=headers, caller=caller))


def test_a_conversation_stays_the_same_as_it_grows() -> None:
    long = "lorem " * 1000
    for text in ("", "hi", "a" * 3000, long, long + "b"):
        assert len({conversation(text, turns).root for turns in (1, 2, 9)}) == 1
    assert conversation("hi").root != conversation("ho").root


def test_so_does_a_conversation_of_a_claude_client() -> None:
    bodies = (b'{"messages":[{"role": "user"} ]}', b'{"messages":[{"role": "user"},{}]}')
    talks = [Conversation(Request("anthropic", Body(body), "m", False)) for body in bodies]
    assert talks[0].root == talks[1].root
    assert [talk.goes_on for talk in talks] == [False, True]


def test_a_session_stays_the_same_whatever_it_says() -> None:
    session = (("x-claude-code-session-id", "s1"),)
    assert len({conversation(text, headers=session).root for text in "abcdefgh"}) == 1
    assert conversation("a", headers=session).goes_on


def test_two_callers_never_share_one() -> None:
    session = (("x-claude-code-session-id", "s1"),)
    for headers in ((), session):
        ones = {conversation("hi", headers=headers, caller=who).root for who in ("one", "two")}
        assert len(ones) == 2


def test_a_prompt_that_is_cached_goes_on_from_its_first_turn() -> None:
    body = b'{"messages":[{"role":"user","content":"hi"}],"cache_control":{"type":"ephemeral"}}'
    assert Conversation(Request("anthropic", Body(body), "m", False)).goes_on


def test_a_choice_belongs_to_a_conversation_and_a_selector() -> None:
    one, other = conversation("hi"), conversation("ho")
    assert one.choice("a^b") == conversation("hi", 3).choice("a^b")
    assert len({one.choice("a^b"), one.choice("a^c"), other.choice("a^b")}) == 3
