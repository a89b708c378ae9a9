"""The provider's endpoints: which path answers what, and the headers that every answer has."""

from __future__ import annotations

import hashlib
from collections import deque
from typing import Any
from urllib.parse import parse_qs, unquote

import msgspec

from . import betas
from .answer import answer
from .cache import PromptCache, input_tokens
from .catalog import describe, find_model, list_models
from .control import PREFIX, Control, take_script
from .conversation import Request, last_user_text
from .errors import Refusal, encode_refusal
from .limits import Limits
from .options import MAX_RECORDED, ORGANIZATION, Options, Received
from .reply import SSE_TYPE, Reply, json_reply
from .request import (
    authenticate,
    check_charset,
    decode_body,
    read_request,
    read_version,
    too_large,
)
from .rules import check_rules
from .script import Script, find_directive
from .send import Counters
from .stream import frame, message_events, with_pings
from .thinking import Judge, Policy
from .wire import Connection, HttpRequest

ROUTES: dict[str, tuple[str, ...]] = {
    "/v1/messages": ("POST",),
    "/v1/messages/count_tokens": ("POST",),
    "/v1/models": ("GET", "HEAD"),
    "/api/hello": ("GET", "HEAD"),
}
MODEL_PATH = "/v1/models/"


class Api:
    """Answers requests; holds what outlives one of them."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.max_body = options.max_body
        self.counters = Counters()
        self.open_connections: set[Connection] = set()
        self.requests: list[Received] = []
        self.scripts: deque[dict[str, Any]] = deque()
        self.control = Control(self.scripts, self.requests, self.counters)
        self.cache = PromptCache(options.clock)
        self.limits = Limits(options.clock, options.requests_per_minute, options.tokens_per_minute)
        self.serial = 0

    def reset(self) -> None:
        """Back to the state after the start."""
        self.control.reset()
        self.cache.clear()
        self.limits.windows.clear()
        self.serial = 0

    def answer(self, http: HttpRequest) -> Reply:
        """The reply to one HTTP request."""
        target, _, query = http.target.decode("latin-1").partition("?")
        path = unquote(target)
        if path == PREFIX or path.startswith(PREFIX + "/"):
            return self.controlled(http, path)
        received = Received(http.method, path, query, http.headers, http.body, self.options.clock())
        self.requests.append(received)
        del self.requests[:-MAX_RECORDED]
        self.serial += 1
        request_id = f"req_011{self.serial:021d}"
        key = ""
        try:
            if http.too_large:
                raise too_large(self.max_body)
            key = authenticate(http.headers, self.options.api_keys)
            reply = self.routed(received, key)
        except Refusal as refusal:
            body = encode_refusal(refusal, request_id)
            reply = Reply(refusal.status, list(refusal.headers), body)
        reply.close = reply.close or http.too_large
        return self.finished(reply, request_id, key)

    def controlled(self, http: HttpRequest, path: str) -> Reply:
        """A control request; it needs no key and is not recorded."""
        try:
            if (http.method, path.rstrip("/")) == ("DELETE", PREFIX):
                self.reset()
            return self.control.answer(http.method, path, http.body)
        except Refusal as refusal:
            return Reply(refusal.status, [], encode_refusal(refusal, "req_sim"))

    def routed(self, received: Received, key: str) -> Reply:
        """Path and method to an endpoint."""
        path, method = received.path, received.method
        allowed = ROUTES.get(path) or (("GET", "HEAD") if path.startswith(MODEL_PATH) else ())
        if not allowed:
            raise Refusal("Not Found", status=404)
        if method not in allowed:
            raise Refusal(
                "Method Not Allowed", status=405, headers=(("allow", ", ".join(allowed)),)
            )
        if path == "/api/hello":
            return json_reply({"message": "hello"})
        if path.startswith("/v1/models"):
            return self.models(received)
        return self.inference(received, key)

    def models(self, received: Received) -> Reply:
        """`GET /v1/models` and `/v1/models/{id}`."""
        read_version(received.headers)
        betas.parse_betas(received.headers)
        if received.path == "/v1/models":
            query = parse_qs(received.query, keep_blank_values=True)
            return json_reply(list_models(query, self.options.retired))
        name = received.path.removeprefix(MODEL_PATH)
        return json_reply(describe(find_model(name, self.options.retired)))

    def inference(self, received: Received, key: str) -> Reply:
        """`POST /v1/messages` and `/v1/messages/count_tokens`."""
        counting = received.path.endswith("/count_tokens")
        script = None if counting else take_script(self.scripts)
        self.limits.window(key).requests += 1
        if self.options.enforce_limits:
            self.limits.admit(key)
        check_charset(received.headers)
        body = decode_body(received.headers, received.body, self.max_body)
        request = read_request(received.headers, body, counting, self.options.retired)
        tokens = input_tokens(request)
        check_rules(request, tokens)
        if counting:
            Judge(request, self.policy(key)).verdict()
            return count_reply(request, tokens)
        script = script or find_directive(last_user_text(request)) or Script()
        return self.message(request, script, key)

    def policy(self, key: str) -> Policy:
        """How thinking blocks are treated for this key."""
        options = self.options
        return Policy(
            self.organization(key), options.binding == "enforced", options.trust_foreign_signatures
        )

    def organization(self, key: str) -> str:
        """The organization that a key belongs to."""
        if not self.options.organization_per_key:
            return ORGANIZATION
        text = hashlib.sha256(key.encode()).hexdigest()
        return f"{text[:8]}-{text[8:12]}-4000-8000-{text[12:24]}"

    def message(self, request: Request, script: Script, key: str) -> Reply:
        """The answer of `/v1/messages`."""
        policy = self.policy(key)
        verdict = Judge(request, policy).verdict()
        if script.error is not None:
            return scripted_error(script)
        accounting = self.cache.account(request, key)
        answered = answer(request, script, accounting, policy, verdict)
        window = self.limits.window(key)
        window.input += accounting.total - accounting.read
        window.output += answered.tokens
        reply = Reply(body=msgspec.json.encode(answered.message))
        if request.body.get("stream"):
            counted = bool(request.caller.betas & betas.TOKEN_COUNT)
            events = script.events
            if events is None:
                events = message_events(
                    answered.message, answered.pieces, script.delta_chars, counted
                )
            reply.frames = [frame(event) for event in with_pings(events, script.ping_every)]
            reply.content_type = SSE_TYPE
        return with_script(reply, script)

    def finished(self, reply: Reply, request_id: str, key: str) -> Reply:
        """Add the headers that every answer has; those of a script win."""
        standard = [
            ("request-id", request_id),
            ("anthropic-organization-id", self.organization(key)),
            *self.limits.headers(key),
        ]
        named = {name.lower() for name, _ in reply.headers}
        reply.headers = [*reply.headers, *[item for item in standard if item[0] not in named]]
        reply.request_id = request_id
        reply.body = reply.body.replace(PENDING_ID, request_id.encode())
        return reply


# Stands in a scripted error's body for the id that the answer gets at the end.
PENDING_ID = b"req_pending_0000000000000000"


def count_reply(request: Request, tokens: int) -> Reply:
    """The answer of `count_tokens`."""
    value: dict[str, Any] = {"input_tokens": tokens}
    if request.body.get("context_management"):
        value["context_management"] = {"original_input_tokens": tokens}
    return json_reply(value)


def scripted_error(script: Script) -> Reply:
    """The error that a script answers instead of a message."""
    error = script.error or {}
    status = error.get("status", 529)
    message = error.get("message", "Overloaded" if status == 529 else "scripted error")
    refusal = Refusal(message, status=status, kind=error.get("type"), details=error.get("details"))
    headers = list({**script.headers, **error.get("headers", {})}.items())
    if "retry_after" in error:
        headers.append(("retry-after", f"{error['retry_after']:g}"))
    body = encode_refusal(refusal, PENDING_ID.decode())
    if "raw_body" in error:
        body = error["raw_body"].encode("utf-8", "surrogatepass")
    reply = Reply(status, headers, body)
    return paced(reply, script)


def with_script(reply: Reply, script: Script) -> Reply:
    """The script's headers and pace."""
    reply.headers.extend(script.headers.items())
    return paced(reply, script)


def paced(reply: Reply, script: Script) -> Reply:
    """The script's pace and fault."""
    reply.chunk_bytes = script.chunk_bytes
    reply.delay = script.delay
    reply.fault = script.fault
    return reply
