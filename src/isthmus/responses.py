"""The responses that are kept for clients of OpenAI's Responses API: by caller and by id, for a while."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from isthmus.errors import GatewayError, refuse
from isthmus.frontends import Match, openai_responses
from isthmus.frontends.openai_responses import stored
from isthmus.frontends.openai_responses.stored import Known, Missing, Record
from isthmus.messages import Message
from isthmus.pipeline import Answer, Call
from isthmus.request import HttpRequest, Request
from isthmus.storage import Store

MAX_LINKS = 1000
"""How many responses a conversation may go back over."""


class Responses:
    """Keeps responses in a store, goes on from them, and shows them; without a store it has none.

    Another caller's response is not there. What the store has dropped is not there either: a
    conversation of which a part is gone cannot be gone on from.
    """

    def __init__(self, store: Store | None) -> None:
        self._store = store

    # --- going on -------------------------------------------------------------------------------

    async def decoded(self, http: HttpRequest, match: Match, caller: str) -> Request:
        """The request as its frontend reads it, behind the responses that it goes on from.

        Raises GatewayError (400) as the frontend does, and for what is not there.
        """
        known = Known(keeps=self._store is not None)
        try:
            request = openai_responses.decode(http, match, known)
        except Missing as missing:
            known = await self._known(missing, caller)
            request = openai_responses.decode(http, match, known)
        return replace(request, caller=caller)

    async def _known(self, missing: Missing, caller: str) -> Known:
        chain: list[Record] = []
        if missing.previous is not None:
            chain = await self._chain(missing.previous, caller)
        items = stored.named(chain, missing.items)
        origins = {stored.origin(name) for name in missing.items if name not in items}
        records = await self._records(sorted(origins), caller)
        found = stored.named([record for record in records if record], missing.items)
        return Known(keeps=True, chain=chain, items={**found, **items})

    async def _chain(self, response: str, caller: str) -> list[Record]:
        """The record of a response and those that it goes on from, oldest first; [] if it is not there.

        Raises GatewayError (400) where a part of the conversation is gone, or it is too long.
        """
        chain: list[Record] = []
        name: str | None = response
        while name is not None:
            if len(chain) == MAX_LINKS:
                raise refuse(stored.PREVIOUS, f"it goes back over more than {MAX_LINKS} responses")
            [record] = await self._records([name], caller)
            if record is None and chain:
                raise stored.not_there(name)
            if record is None:
                return []
            chain.append(record)
            name = record.previous
        return chain[::-1]

    async def _records(self, names: Sequence[str], caller: str) -> list[Record | None]:
        if self._store is None or not names:
            return [None] * len(names)
        values = await self._store.get([_key(name, caller) for name in names])
        return [Record.decode(value) if value is not None else None for value in values]

    # --- keeping --------------------------------------------------------------------------------

    async def step(self, request: Request, call: Call) -> Answer:
        """Step, per exchange: keeps the response that a complete answer becomes, unless told not to."""
        answer = await call(request)
        if "stored" in request.memory:
            answer.observers.append(partial(self._keep, request))
        return answer

    async def _keep(self, request: Request, message: Message) -> None:
        record = stored.kept(request, message)
        if record is None or self._store is None:
            return
        key = _key(record.response["id"], request.caller)
        # Should a provider give an id again, the newest answer is the one that its client knows.
        await self._store.delete(key)
        await self._store.add(key, record.encode())

    # --- showing --------------------------------------------------------------------------------

    async def serve(self, http: HttpRequest, match: Match, caller: str) -> bytes:
        """The body of the answer to a request about a stored response.

        Raises GatewayError: 404 for a response that is not there, 400 for what cannot be had of it.
        """
        name = match.parts["response"]
        chain = [r for r in await self._records([name], caller) if r is not None]
        if not chain:
            text = f"there is no response {name[:80]!r}"
            raise GatewayError("not_found", text, param="response_id")
        return await SERVED[match.route.operation](self, http, chain[0], caller)

    async def _response(self, http: HttpRequest, record: Record, caller: str) -> bytes:
        return stored.encode_response(record, http.query)

    async def _input_items(self, http: HttpRequest, record: Record, caller: str) -> bytes:
        chain = await self._chain(record.response["id"], caller)
        return stored.encode_items(chain, http.query)

    async def _deleted(self, http: HttpRequest, record: Record, caller: str) -> bytes:
        name = record.response["id"]
        if self._store is not None:
            await self._store.delete(_key(name, caller))
        return stored.encode_deleted(name)

    async def _cancelled(self, http: HttpRequest, record: Record, caller: str) -> bytes:
        raise refuse("", "the response is complete: there is nothing to be cancelled")


SERVED: Mapping[str, Callable[[Responses, HttpRequest, Record, str], Awaitable[bytes]]] = {
    "response": Responses._response,
    "delete_response": Responses._deleted,
    "input_items": Responses._input_items,
    "cancel_response": Responses._cancelled,
}
"""How each operation on a stored response is served."""


def _key(response: str, caller: str) -> bytes:
    """The key of a response. A caller is a digest or nothing, so that no two pairs are written alike."""
    return hashlib.blake2b(f"{caller} {response}".encode(), digest_size=16).digest()
