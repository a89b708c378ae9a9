"""Signed thinking: what a signature holds, how it is verified, which blocks a model may read.

A signature is a base64 stamp under an HMAC: who made the block (model family, organization), a hash of its visible
text, and, for models that bind thinking to its prefix, a hash of `system`, `tools` and the earlier turns plus the id
of the thinking block before it. The hash leaves out what the provider does not compare: `cache_control`, thinking
blocks, null members, and deferred tools that nothing refers to.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from dataclasses import dataclass
from typing import Any

import msgspec

from .catalog import MODELS, Model
from .conversation import Located, Request, Turn, system_blocks
from .errors import Refusal

SECRET = b"isthmus simulator: thinking signatures"
MARK = b"\x12sim1"
KINDS = ("thinking", "redacted_thinking")
READS: dict[str, list[str]] = {
    model.family: model.reads for model in MODELS if model.family != "classic"
}
READS["classic"] = ["classic"]
# Models that read only blocks made under their own organization.
SAME_ORGANIZATION = ("claude-sonnet-5-5", "claude-haiku-5-5")


class Stamp(msgspec.Struct, frozen=True, array_like=True):
    """What a signature says."""

    kind: str
    family: str
    organization: str
    text: str
    prefix: str
    previous: str

    @property
    def id(self) -> str:
        """A short name for the block, by which the next one refers to it."""
        return digest(msgspec.json.encode(self))[:16]


@dataclass(frozen=True, slots=True)
class Policy:
    """How this account and server treat thinking blocks."""

    organization: str
    enforced: bool = True
    trust_foreign: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """Which thinking blocks the model sees, and what to report under the beta."""

    dropped: frozenset[tuple[int, int | None]]
    transformations: list[dict[str, str]]
    previous: str


def digest(data: bytes) -> str:
    """A hash as hexadecimal text."""
    return hashlib.sha256(data).hexdigest()


def seal(stamp: Stamp) -> str:
    """The signature of a stamp."""
    payload = msgspec.json.encode(stamp)
    tag = hmac.digest(SECRET, payload, "sha256")
    return base64.b64encode(MARK + tag + payload).decode()


def unseal(signature: str) -> Stamp | None:
    """The stamp of a signature of ours; None for anything else."""
    try:
        raw = base64.b64decode(signature, validate=True)
    except (binascii.Error, ValueError):
        return None
    tag, payload = raw[len(MARK) : len(MARK) + 32], raw[len(MARK) + 32 :]
    if not raw.startswith(MARK) or not hmac.compare_digest(
        tag, hmac.digest(SECRET, payload, "sha256")
    ):
        return None
    return msgspec.json.decode(payload, type=Stamp)


def plain(value: Any) -> Any:
    """A value without what the binding does not compare."""
    if isinstance(value, list):
        return [plain(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {key: plain(item) for key, item in value.items() if counts(key, item)}


def counts(key: str, item: Any) -> bool:
    """Whether a member is part of the compared prefix."""
    if item is None or key == "cache_control":
        return False
    if key == "caller":
        return bool(item != {"type": "direct"})
    return not (key == "citations" and item == []) and not (key == "is_error" and item is False)


def canonical(value: Any) -> bytes:
    """Bytes that are equal for equal values."""
    return msgspec.json.encode(plain(value), order="sorted")


def compared_block(block: dict[str, Any]) -> dict[str, Any]:
    """A block with string content written as a list, which means the same."""
    if block["type"] == "tool_result" and isinstance(block.get("content"), str):
        return {**block, "content": [{"type": "text", "text": block["content"]}]}
    return block


def referenced_tools(turn: Turn) -> set[str]:
    """The names of tools that a turn calls, finds or adds."""
    names: set[str] = set()
    for item in turn.blocks:
        block = item.block
        if item.kind == "tool_use":
            names.add(block["name"])
        content = block.get("content")
        for part in content if isinstance(content, list) else ():
            names.add(part.get("tool_name", ""))
        names.add((block.get("tool") or {}).get("name", ""))
    return names


class Prefixes:
    """The hash of everything before each turn of a request."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.values: list[str] = []
        running = hashlib.sha256(canonical(system_blocks(request.body)))
        seen: set[str] = set()
        for turn in [*request.turns, None]:
            tools = [
                tool
                for tool in request.tools
                if not tool.get("defer_loading") or tool.get("name") in seen
            ]
            self.values.append(digest(running.digest() + canonical(tools)))
            if turn is not None:
                blocks = [
                    compared_block(item.block) for item in turn.blocks if item.kind not in KINDS
                ]
                running.update(turn.role.encode() + b"\n" + canonical(blocks) + b"\n")
                seen |= referenced_tools(turn)

    def before_answer(self) -> str:
        """The prefix that the answer's thinking is bound to; an open assistant turn belongs to the answer."""
        turns = self.request.turns
        continued = bool(turns) and turns[-1].role == "assistant"
        return self.values[len(turns) - 1 if continued else len(turns)]


def visible_text(block: dict[str, Any]) -> str:
    """The text that the signature covers."""
    return str(block["thinking"]) if block["type"] == "thinking" else ""


def signed_blocks(
    blocks: list[dict[str, Any]], request: Request, policy: Policy, previous: str
) -> list[dict[str, Any]]:
    """The answer's blocks with a real signature on every thinking block that has none."""
    bound = request.model.family != "classic"
    prefix = Prefixes(request).before_answer() if bound else ""
    signed: list[dict[str, Any]] = []
    for block in blocks:
        member = {"thinking": "signature", "redacted_thinking": "data"}.get(block["type"])
        if member and not block.get(member):
            stamp = Stamp(
                block["type"],
                request.model.family,
                policy.organization,
                digest(visible_text(block).encode()),
                prefix,
                previous if bound else "",
            )
            previous = stamp.id
            signed.append({**block, member: seal(stamp)})
        else:
            signed.append(block)
    return signed


class Judge:
    """Goes through the thinking blocks of a request in order and decides on each."""

    def __init__(self, request: Request, policy: Policy) -> None:
        self.request = request
        self.policy = policy
        self.prefixes = Prefixes(request)
        config = request.body.get("thinking") or {}
        behavior = (config.get("block_binding") or {}).get("prefix_mismatch_behavior")
        binding = request.model.binding
        self.enforced = binding == "always" or (
            binding == "new_accounts" and (policy.enforced or behavior is not None)
        )
        self.drops = behavior == "drop_block"
        self.kept: list[Stamp] = []
        self.dropped: set[tuple[int, int | None]] = set()
        self.transformations: list[dict[str, str]] = []

    def verdict(self) -> Verdict:
        """Judge every block."""
        assistants = [
            index for index, turn in enumerate(self.request.turns) if turn.role == "assistant"
        ]
        for index in assistants:
            dropping = False
            for item in self.request.turns[index].blocks:
                if item.kind not in KINDS:
                    dropping = False
                    continue
                dropping = self.judge(item, index, index == assistants[-1], dropping)
        previous = self.kept[-1].id if self.kept else ""
        return Verdict(frozenset(self.dropped), self.transformations, previous)

    def judge(self, item: Located, turn: int, latest: bool, dropping: bool) -> bool:
        """Keep, drop or refuse one block; true while a run of dropped blocks goes on."""
        stamp = self.authentic(item, latest)
        if stamp is None:
            return False
        reason = self.unreadable(stamp)
        if reason:
            self.drop(item, reason)
            return False
        if not dropping and not self.mismatched(stamp, turn):
            self.kept.append(stamp)
            return False
        if not self.enforced:
            self.report("thinking_mismatch_allowed", item, "prefix_binding_mismatch")
            self.kept.append(stamp)
            return False
        if not self.drops:
            raise Refusal(mismatch_message(item))
        self.drop(item, "prefix_binding_mismatch")
        return True

    def authentic(self, item: Located, latest: bool) -> Stamp | None:
        """The block's stamp; a forged one is a 400, a foreign one is None where it is trusted."""
        member = "signature" if item.kind == "thinking" else "data"
        stamp = unseal(item.block[member])
        if stamp is None:
            if self.policy.trust_foreign:
                return None
            raise Refusal(f"{item.path}: Invalid `{member}` in `{item.kind}` block")
        if stamp.kind == item.kind and stamp.text == digest(visible_text(item.block).encode()):
            return stamp
        if latest:
            raise Refusal(
                f"{item.path}: `thinking` or `redacted_thinking` blocks in the latest assistant message cannot be "
                "modified. These blocks must remain as they were in the original response."
            )
        raise Refusal(f"{item.path}: Invalid `{member}` in `{item.kind}` block")

    def unreadable(self, stamp: Stamp) -> str | None:
        """Why this model may not read the block, in the provider's order of precedence."""
        model = self.request.model
        if model.family in SAME_ORGANIZATION and stamp.organization != self.policy.organization:
            return "organization_binding_mismatch"
        return None if stamp.family in model.reads else "model_binding_mismatch"

    def mismatched(self, stamp: Stamp, turn: int) -> bool:
        """Whether the prefix or the run of blocks before it is not what it was; unbound blocks never are."""
        if not stamp.prefix or self.request.model.binding == "none":
            return False
        if stamp.prefix != self.prefixes.values[turn]:
            return True
        readable = [before for before in self.kept if before.family in READS[stamp.family]]
        return bool(readable) and readable[-1].id != stamp.previous

    def drop(self, item: Located, reason: str) -> None:
        """Take the block from what the model sees."""
        self.dropped.add((item.message, item.index))
        self.report("thinking_dropped", item, reason)

    def report(self, kind: str, item: Located, reason: str) -> None:
        """Note an `input_transformations` entry."""
        self.transformations.append({"type": kind, "path": item.path, "reason": reason})


def mismatch_message(item: Located) -> str:
    """The wording of section 1.6."""
    member = "signature" if item.kind == "thinking" else "data"
    return (
        f"{item.path}: Invalid `{member}` in `{item.kind}` block. The block is bound to a different conversation. "
        'Remove the block, or set `thinking.block_binding.prefix_mismatch_behavior` to "drop_block" (requires the '
        "`thinking-binding-controls-2026-08-01` beta header). The `system`, `tools` or an earlier message differs from "
        "the conversation that produced the block, or a thinking block between two others is missing."
    )


def hidden_thinking(model: Model, display: str | None) -> bool:
    """Whether thinking text stays empty in the answer."""
    return (display or model.display) == "omitted"
