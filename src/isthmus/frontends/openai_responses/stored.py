"""Stored responses: what is kept of each, how a request goes on from them, how they are shown.

Nothing here stores: who does looks the records up and hands them over as ``Known``.
Source: OpenAI's API reference (create, retrieve and delete a response, list input items).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast
from urllib.parse import parse_qs

from isthmus import wire
from isthmus.errors import GatewayError, refuse
from isthmus.frontends.openai_responses.sealed import opened
from isthmus.frontends.openai_responses.stream import encode_message
from isthmus.messages import Message
from isthmus.request import Request, expect

Item = dict[str, Any]

PREVIOUS = "previous_response_id"
ENCRYPTED = "reasoning.encrypted_content"
"""What a client includes to be sent the content of its reasoning items."""


@dataclass(frozen=True, slots=True)
class Record:
    """What is kept of one response.

    ``response`` is the object that the client got, with the encrypted content of its reasoning: that
    is the client's to see only where it was ``shown``. ``input`` holds the request's own items.
    """

    response: Item
    input: list[Item]
    shown: bool = False

    @classmethod
    def decode(cls, value: bytes) -> Record:
        return cls(*wire.loads(value))

    def encode(self) -> bytes:
        return wire.dumps([self.response, self.input, self.shown])

    @property
    def previous(self) -> str | None:
        """The id of the response that this one went on from."""
        return self.response[PREVIOUS]

    @property
    def key(self) -> str:
        """What the ids of the response and of its items have in common."""
        return str(self.response["id"]).removeprefix("resp_")

    @property
    def items(self) -> list[Item]:
        """The response's part of the conversation: what was said to it, and its answer."""
        return [*self.input, *self.response["output"]]


@dataclass(frozen=True, slots=True)
class Known:
    """What the reading of a request is told of the store.

    ``keeps`` says whether responses are kept at all; ``chain`` holds the records of the response that
    the request goes on from and of those before it, oldest first; ``items`` those that it names by
    their ids. Both are empty until a reading has said what it needs, by raising ``Missing``.
    """

    keeps: bool = False
    chain: Sequence[Record] = ()
    items: Mapping[str, Item] = field(default_factory=dict[str, Item])


class Missing(GatewayError):
    """A request names what it was not told of: the id of a response (or None), and ids of items.

    Where the store does not have them either, this is what the client is answered (400).
    """

    def __init__(self, error: GatewayError, previous: str | None, items: Iterable[str]) -> None:
        super().__init__(error.kind, error.message, param=error.param)
        self.previous = previous
        self.items = tuple(items)


def not_there(response: str) -> GatewayError:
    """The 400 for a ``previous_response_id`` that leads nowhere."""
    text = f"{PREVIOUS}: there is no response {response[:80]!r}: send the conversation as input"
    return GatewayError("previous_response_not_found", text, param=PREVIOUS)


# --- going on -----------------------------------------------------------------------------------


def continued(body: Item, known: Known) -> tuple[Item, list[Item]]:
    """The body with the items that it names in their places, and the items that go before its own.

    Without a store the body stays as it is. Raises Missing for what ``known`` does not hold, and
    GatewayError (400) for a ``previous_response_id`` that is no string.
    """
    if not known.keeps:
        return body, []
    previous = body.get(PREVIOUS)
    if previous is not None:
        expect(previous, str, PREVIOUS, "a string")
    places = _references(body.get("input"))
    unknown = {at: name for at, name in places.items() if name not in known.items}
    if previous is not None and not known.chain:
        raise Missing(not_there(previous), previous, places.values())
    if unknown:
        at, name = next(iter(unknown.items()))
        error = refuse(f"input.{at}.id", f"there is no item {name[:80]!r}: send the item itself")
        raise Missing(error, previous, places.values())
    if known.chain and body.get("input") is None:
        body = {**body, "input": []}
    if places:
        given = cast("list[Any]", body["input"])
        named = {at: known.items[name] for at, name in places.items()}
        body = {**body, "input": [named.get(at, item) for at, item in enumerate(given)]}
    return body, [item for record in known.chain for item in record.items]


def is_reference(item: Mapping[str, Any]) -> bool:
    """Whether an item stands for another by its id alone; the type need not be said."""
    kind = item.get("type")
    return kind == "item_reference" or (kind is None and "id" in item and "role" not in item)


def _references(value: Any) -> dict[int, str]:
    """The ids of the items that ``input`` names, by their places."""
    found: dict[int, str] = {}
    for at, item in enumerate(cast("list[Any]", value) if isinstance(value, list) else ()):
        if isinstance(item, dict) and is_reference(cast("Item", item)):
            found[at] = expect(item.get("id"), str, f"input.{at}.id", "a string")
    return found


def named(records: Iterable[Record], wanted: Iterable[str]) -> dict[str, Item]:
    """The items of these ids that the records hold, by their ids."""
    names = set(wanted) - {""}
    found: dict[str, Item] = {}
    for record in records:
        for own, item in _identified(record):
            for name in names & {own, _given_id(item)}:
                found.setdefault(name, {**item, "id": name})
    return found


def origin(item: str) -> str:
    """The id of the response whose item this would be, were the item's id one that we gave."""
    return f"resp_{item.partition('_')[2].rpartition('_')[0]}"


# --- keeping ------------------------------------------------------------------------------------


def own_items(value: Any) -> list[Item]:
    """What ``Request.memory["stored"]`` holds for ``kept``: the items of an ``input`` that was read."""
    if isinstance(value, str):
        return [{"type": "message", "role": "user", "content": value}]
    return value


def kept(request: Request, message: Message) -> Record | None:
    """The record of a complete answer; None for one without an id, which nobody could ask for."""
    memory = request.memory
    if not message.get("id"):
        return None
    whole = replace(request, memory={**memory, "encrypted": True})
    response = wire.loads(encode_message(whole, message))
    return Record(response, memory["stored"], shown=bool(memory.get("encrypted")))


# --- showing ------------------------------------------------------------------------------------


def encode_response(record: Record, query: str) -> bytes:
    """The response as its client got it; the query may include the encrypted reasoning.

    Raises GatewayError (400) for a query that asks for a stream.
    """
    asked = parse_qs(query)
    if _last(asked, "stream", "false").lower() not in ("false", "0") or "starting_after" in asked:
        name = "stream" if "stream" in asked else "starting_after"
        raise refuse(name, "what is stored is no stream: ask for the whole response")
    response = record.response
    if not record.shown and not _included(asked):
        output = [_veiled(item) for item in response["output"] if not _is_sealed(item)]
        response = {**response, "output": output}
    return wire.dumps(response)


def encode_deleted(response: str) -> bytes:
    return wire.dumps({"id": response, "object": "response", "deleted": True})


LIMIT, MOST = 20, 100
"""How many items a page of a list has where nothing is said, and at most."""


def encode_items(chain: Sequence[Record], query: str) -> bytes:
    """A page of the items that the last response of a chain was made from, the newest first.

    Those are the items of the responses before it and its own input. The query may hold ``limit``
    (1 to 100), ``order`` (asc or desc), ``after`` (an item's id) and ``include``. Raises GatewayError
    (400) for any other value of these.
    """
    asked = parse_qs(query)
    limit = _last(asked, "limit", str(LIMIT))
    if not (limit.isascii() and limit.isdigit() and 1 <= int(limit[:4]) <= MOST):
        raise refuse("limit", f"expected a number from 1 to {MOST}")
    order = _last(asked, "order", "desc")
    if order not in ("asc", "desc"):
        raise refuse("order", "expected asc or desc")
    if "before" in asked:
        raise refuse("before", "pages are asked for by after")
    items = _listed(chain, veiled=not _included(asked))
    if order == "desc":
        items.reverse()
    after = _last(asked, "after", "")
    ids = [item["id"] for item in items]
    if after and after not in ids:
        raise refuse("after", f"there is no item {after[:80]!r} in this list")
    start = ids.index(after) + 1 if after else 0
    page = items[start : start + int(limit)]
    first, last = (page[0]["id"], page[-1]["id"]) if page else (None, None)
    more = start + len(page) < len(items)
    ends = {"first_id": first, "last_id": last, "has_more": more}
    return wire.dumps({"object": "list", "data": page, **ends})


def _last(query: Mapping[str, list[str]], name: str, default: str) -> str:
    return query.get(name, [default])[-1]


def _included(query: Mapping[str, list[str]]) -> bool:
    """Whether a query includes encrypted reasoning; lists are written in two ways."""
    return ENCRYPTED in (*query.get("include", ()), *query.get("include[]", ()))


def _is_sealed(item: Item) -> bool:
    """Whether an item does nothing but bring blocks back: whoever is not shown that never saw it."""
    content = item.get("encrypted_content") if item.get("type") == "reasoning" else None
    return isinstance(content, str) and opened(content) is not None


def _veiled(item: Item) -> Item:
    """The item without the encrypted content of reasoning."""
    if item.get("type") != "reasoning":
        return item
    return {name: value for name, value in item.items() if name != "encrypted_content"}


def _listed(chain: Sequence[Record], *, veiled: bool) -> list[Item]:
    """The items in full, each with an id that no other has: the client may have sent one twice."""
    found: dict[str, Item] = {}
    for record in chain:
        own = list(_identified(record))
        own = own if record is not chain[-1] else own[: len(record.input)]
        own = [(name, item) for name, item in own if not (veiled and _is_sealed(item))]
        for name, item in own:
            given = _given_id(item)
            unique = given if given and given not in found else name
            full = _full(item, unique)
            found[unique] = _veiled(full) if veiled else full
    return list(found.values())


_IDS = {
    "message": "msg",
    "reasoning": "rs",
    "function_call": "fc",
    "function_call_output": "fco",
    "custom_tool_call": "ctc",
    "custom_tool_call_output": "ctco",
    "web_search_call": "ws",
    "compaction": "cmp",
}
"""How the ids of items begin, by their types; those of others begin with "item"."""


def _identified(record: Record) -> Iterable[tuple[str, Item]]:
    """The record's items, each with the id that is ours to give; an answer's items have theirs."""
    for at, item in enumerate(record.input):
        kind = item.get("type") or "message"
        yield f"{_IDS.get(kind, 'item')}_{record.key}_in{at}", item
    for item in record.response["output"]:
        yield item["id"], item


def _given_id(item: Item) -> str:
    """The id that an item came with; "" for one without, or with what can be none."""
    given = item.get("id")
    return given if isinstance(given, str) else ""


def _full(item: Item, name: str) -> Item:
    """An item of a request as a list shows it: with type, id, status and parts."""
    said = {member: value for member, value in item.items() if value is not None}
    kind = said.get("type", "message")
    full: Item = {"type": kind, **said, "id": name}
    if kind == "reasoning":
        return {"summary": [], **full}
    if kind in _IDS:
        full.setdefault("status", "completed")
    if kind == "message" and isinstance(full.get("content"), str):
        part: Item = {"type": "input_text", "text": full["content"]}
        if full["role"] == "assistant":
            part = {"type": "output_text", "annotations": [], "text": full["content"]}
        full["content"] = [part]
    return full
