"""Step, per exchange: keeps Claude's turns for clients whose dialect cannot give them back whole.

A stock OpenAI client returns text and tool calls, but neither thinking with its signature nor what
the provider's own tools did. Each answer is kept as it came, under a digest of the caller and of the
conversation up to it as the client will send it; on the next request it takes its place again.

Thinking is valid behind the prefix that it was produced in alone, and only as an unbroken run
(Anthropic's page on preserved thinking). So what is restored is exactly what was sent when the
latest kept turn was made, or nothing; after a miss a new run begins with the next answer. Turns that
could not be kept, such as a refusal or an answer that a limit cut off, stay as their client sends them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any, cast

from isthmus import wire
from isthmus.messages import Block, Input, Message, sendable
from isthmus.pipeline import Answer, Call, Step
from isthmus.profiles import Profile
from isthmus.request import Request
from isthmus.storage import Store
from isthmus.turns import tool_input

NATIVE = "anthropic"
PLAIN = ("text", "tool_use")
"""Blocks of an assistant turn that every dialect can give back."""
UNFINISHED = ("refusal", "pause_turn", None)
"""Stop reasons of answers that are no turn of the conversation that follows."""
LOST = "the reasoning of earlier turns is not at hand: the conversation goes on without it"

Turn = dict[str, Any]


def vault(store: Store) -> Step:
    """The step over a store."""

    async def step(request: Request, call: Call) -> Answer:
        turns = request.body.peek("messages")
        # A final assistant turn is continued by the answer, which is then no turn of its own.
        if request.dialect == NATIVE or not turns or turns[-1]["role"] == "assistant":
            return await call(request)
        profile = request.target.profile if request.target else None
        talk = Conversation(turns, _root(request, profile))
        kept = await _run(store, talk)
        restored = kept.put_back(talk) if kept is not None else turns
        sent = _with_turns(request, restored) if kept is not None else request
        answer = await call(sent)
        rest = turns[kept.end(talk) :] if kept is not None else turns
        thinks = _thinks(request, profile)
        if thinks and _is_lost(rest):
            answer.notes.changed("messages", LOST)

        async def keep(message: Message) -> None:
            record = _record(message, restored, kept, len(talk.spoken))
            if record is not None and (thinks or kept is not None or not _is_plain(message)):
                await store.add(talk.key(message), record)

        answer.observers.append(keep)
        return answer

    return step


def _root(request: Request, profile: Profile | None) -> bytes:
    """What must be the same from turn to turn beside the turns themselves."""
    frame: Any = None
    if profile is not None and profile.bound:
        frame = [bare(request.body.peek("system")), bare(request.body.peek("tools"))]
    return wire.canonical([request.caller, frame])


def _with_turns(request: Request, turns: list[Turn]) -> Request:
    body = request.body.copy()
    body.edit("messages", turns)
    return replace(request, body=body)


def _thinks(request: Request, profile: Profile | None) -> bool:
    kind = (request.body.peek("thinking") or {}).get("type")
    if kind is None:
        return profile is not None and profile.thinking_default != "off"
    return kind in ("enabled", "adaptive")


# --- the conversation as a chain of digests -----------------------------------------------------


class Conversation:
    """The turns of a request as the client sent them, each assistant turn with the key of its record.

    The digest of a turn covers all turns before it. It leaves out what clients move or lose: cache
    breakpoints, thinking, white space in the assistant's text, and the ids of tool calls, which some
    dialects do not have.
    """

    def __init__(self, turns: Sequence[Turn], root: bytes) -> None:
        self.turns = turns
        self.spoken: list[int] = []
        """Where the assistant's turns stand."""
        self.keys: list[bytes] = []
        """The key of each assistant turn."""
        self._calls: dict[str, int] = {}
        self._chain = blake2b(root, digest_size=16)
        for index, turn in enumerate(turns):
            if turn["role"] != "assistant":
                self._chain.update(wire.canonical([turn["role"], self._heard(turn["content"])]))
                continue
            self._chain.update(_said(turn["content"]))
            self.spoken.append(index)
            self.keys.append(self._chain.digest())
            for block in _of_type(turn["content"], "tool_use"):
                self._calls[block["id"]] = len(self._calls)

    def key(self, message: Message) -> bytes:
        """The key of the turn that the answer becomes."""
        chain = self._chain.copy()
        chain.update(_said(message["content"]))
        return chain.digest()

    def _heard(self, content: Any) -> Any:
        """Content of another than the assistant, results told apart by the place of their calls."""
        if not isinstance(content, list):
            return content
        return [
            {**bare(block), "tool_use_id": self._calls.get(block["tool_use_id"])}
            if block.get("type") == "tool_result"
            else bare(block)
            for block in cast("list[Block]", content)
        ]


def bare(value: Any) -> Any:
    """Blocks, or turns of them, without their cache breakpoints."""
    if isinstance(value, list):
        return [bare(item) for item in cast("list[Any]", value)]
    if not isinstance(value, dict):
        return value
    block = {k: v for k, v in cast("Block", value).items() if k != "cache_control"}
    if isinstance(block.get("content"), list):
        block["content"] = bare(block["content"])
    return block


_BLANKS = b" \t\n\r\v\f"


def _said(content: Any) -> bytes:
    """The digested form of an assistant turn, the same for the answer and for what comes back of it."""
    if isinstance(content, str):
        content = [{"type": "text", "text": content}]
    text = "".join(block["text"] for block in _of_type(content, "text"))
    calls = [[block["name"], block["input"]] for block in _of_type(content, "tool_use")]
    return wire.canonical(["assistant", calls]) + text.encode().translate(None, _BLANKS)


def _of_type(content: Any, kind: str) -> Iterator[Block]:
    for block in cast("list[Block]", content) if isinstance(content, list) else ():
        if block["type"] == kind:
            yield block


# --- records ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Kept:
    """A run of kept turns.

    ``start`` counts the assistant's turns before it; ``contents`` are its turns' blocks, None for a turn
    that stays as its client sends it.
    """

    start: int
    contents: list[list[Block] | None]

    def end(self, talk: Conversation) -> int:
        """The place behind the last turn of the run."""
        return talk.spoken[self.start + len(self.contents) - 1] + 1

    def absent(self, turn: int) -> list[int]:
        """Which of the assistant's turns from the run's start up to ``turn`` were not restored."""
        kept = {self.start + at for at, blocks in enumerate(self.contents) if blocks is not None}
        return [at for at in range(self.start, turn) if at not in kept]

    def put_back(self, talk: Conversation) -> list[Turn]:
        """The turns of the request with those of the run as they came from the provider."""
        turns = list(talk.turns)
        for place, content in zip(talk.spoken[self.start :], self.contents, strict=False):
            if content is None:
                continue
            own = [block["id"] for block in _of_type(content, "tool_use")]
            given = [block["id"] for block in _of_type(turns[place]["content"], "tool_use")]
            renamed = {g: o for g, o in zip(given, own, strict=True) if g != o}
            turns[place] = {**turns[place], "content": content}
            if renamed and place + 1 < len(turns):
                turns[place + 1] = _answering(turns[place + 1], renamed)
        return turns


def _answering(turn: Turn, renamed: Mapping[str, str]) -> Turn:
    """A turn whose tool results answer the calls by their first ids."""
    content = [
        {**block, "tool_use_id": renamed.get(block["tool_use_id"], block["tool_use_id"])}
        if block.get("type") == "tool_result"
        else block
        for block in cast("list[Block]", turn["content"])
    ]
    return {**turn, "content": content}


async def _run(store: Store, talk: Conversation) -> Kept | None:
    """The latest run of kept turns that fits the conversation; None where there is none.

    The records of a later turn may be of another conversation in the same words.
    """
    values = await store.get(talk.keys)
    records = [wire.loads(value) if value is not None else None for value in values]
    runs = (_ending(at, records, talk) for at in reversed(range(len(records))) if records[at])
    return next((run for run in runs if run is not None), None)


def _ending(last: int, records: Sequence[Any], talk: Conversation) -> Kept | None:
    """The run that ends with one turn; None if a turn of it is lost, or if it is not the client's."""
    latest = records[last]
    run: list[list[Block] | None] = []
    for at in range(latest["start"], last + 1):
        if at in latest["absent"]:
            run.append(None)
        elif records[at] is None:
            return None
        else:
            run.append(records[at]["content"])
    kept = Kept(latest["start"], run)
    restored = kept.put_back(talk)
    if not _agree(talk.turns, restored):
        return None
    before = restored[: talk.spoken[last]]
    return kept if _digest(_reasoning(before)) == latest["before"] else None


def _is_lost(turns: Sequence[Turn]) -> bool:
    """Whether the assistant spoke in these turns, and none of its reasoning is there."""
    return any(turn["role"] == "assistant" for turn in turns) and not _reasoning(turns)


def _agree(given: Sequence[Turn], restored: Sequence[Turn]) -> bool:
    """Whether the reasoning that the client brings itself is the one that was kept.

    It may have had the same conversation twice: then what it brings is of this one, and stays.
    """
    kept = dict(_reasoning(restored))
    brought = ((place, block) for place, blocks in _reasoning(given) for block in blocks)
    return all(block in kept.get(place, ()) for place, block in brought)


def _record(message: Message, sent: list[Turn], kept: Kept | None, turn: int) -> bytes | None:
    """What is kept of an answer; None where it cannot be a turn of the conversation.

    ``sent`` are the turns that it answers, ``turn`` how many of them are the assistant's.
    """
    content = sendable(message["content"])
    whole = message.get("stop_reason") not in UNFINISHED and all(map(_is_whole, content))
    if not whole or not content:
        return None
    start = kept.start if kept is not None else turn
    absent = kept.absent(turn) if kept is not None else []
    before = _digest(_reasoning(sent))
    return wire.dumps({"start": start, "absent": absent, "before": before, "content": content})


def _is_plain(message: Message) -> bool:
    """Whether an answer holds nothing that the client could lose.

    Where the model may think, it is kept all the same: another conversation in the same words may be
    answered with thinking, which must not take its place later.
    """
    return all(block["type"] in PLAIN for block in message["content"])


def _is_whole(block: Block) -> bool:
    """Whether a block was not cut off by a limit."""
    if block["type"] == "thinking":
        return bool(block.get("signature"))
    value = block.get("input")
    return not isinstance(value, Input) or tool_input(value.text) is not None


def _reasoning(turns: Sequence[Turn]) -> list[tuple[int, list[Block]]]:
    """All that clients lose of the assistant's turns, each with the place of its turn."""
    rows: list[tuple[int, list[Block]]] = []
    for place, turn in enumerate(turns):
        if turn["role"] == "assistant" and isinstance(turn["content"], list):
            blocks = cast("list[Block]", turn["content"])
            lost = [bare(block) for block in blocks if block["type"] not in PLAIN]
            rows += [(place, lost)] if lost else []
    return rows


def _digest(value: Any) -> str:
    return blake2b(wire.canonical(value), digest_size=16).hexdigest()
