"""A checked request as the rules see it: turns of located blocks, same-role messages merged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .catalog import Model
from .shapes import Caller


@dataclass(frozen=True, slots=True)
class Located:
    """A content block and where it stands: the index of its message and, unless the content is a string, its own."""

    block: dict[str, Any]
    message: int
    index: int | None

    @property
    def path(self) -> str:
        """`messages.1.content.0`, or `messages.1.content` for string content."""
        base = f"messages.{self.message}.content"
        return base if self.index is None else f"{base}.{self.index}"

    @property
    def kind(self) -> str:
        """The block's type."""
        return str(self.block["type"])


@dataclass(frozen=True, slots=True)
class Turn:
    """Consecutive messages of one role."""

    role: str
    blocks: list[Located]
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Request:
    """A request whose shape is right, with the model it names and the headers that matter."""

    body: dict[str, Any]
    model: Model
    caller: Caller
    turns: list[Turn]
    counting: bool = False

    @property
    def tools(self) -> list[dict[str, Any]]:
        """The offered tools."""
        return self.body.get("tools") or []

    @property
    def thinking_type(self) -> str:
        """enabled, adaptive, between_tools or disabled: what the request or else the model says."""
        config = self.body.get("thinking")
        if config:
            return str(config["type"])
        return "disabled" if self.model.thinking_default == "off" else "adaptive"

    @property
    def effort(self) -> str | None:
        """The effort in force."""
        return (self.body.get("output_config") or {}).get("effort") or self.model.effort_default

    @property
    def json_format(self) -> dict[str, Any] | None:
        """The structured output asked for."""
        config = self.body.get("output_config") or {}
        return config.get("format") or self.body.get("output_format")

    @property
    def choice(self) -> str:
        """The type of `tool_choice` in force."""
        choice = self.body.get("tool_choice")
        if choice:
            return str(choice["type"])
        return "auto" if self.tools else "none"


def system_blocks(body: dict[str, Any]) -> list[dict[str, Any]]:
    """`system` as a list of text blocks."""
    system = body.get("system")
    if isinstance(system, str):
        return [{"type": "text", "text": system}] if system else []
    return list(system or [])


def located_blocks(message: dict[str, Any], position: int) -> list[Located]:
    """The blocks of one message."""
    content = message["content"]
    if isinstance(content, str):
        return [Located({"type": "text", "text": content}, position, None)] if content else []
    return [Located(block, position, index) for index, block in enumerate(content)]


def split_turns(messages: list[dict[str, Any]]) -> list[Turn]:
    """Merge consecutive messages of one role, as the provider does; system messages stay apart."""
    turns: list[Turn] = []
    for position, message in enumerate(messages):
        role = str(message["role"])
        blocks = located_blocks(message, position)
        if turns and turns[-1].role == role and role != "system":
            before = turns[-1]
            turns[-1] = Turn(role, before.blocks + blocks, before.first, position)
        else:
            turns.append(Turn(role, blocks, position, position))
    return turns


def texts_of(content: Any) -> str:
    """The text in a string or a list of blocks, blocks joined by a line feed."""
    if isinstance(content, str):
        return content
    parts = [block.get("text", "") for block in content or () if block.get("type") == "text"]
    return "\n".join(parts)


def last_user_text(request: Request) -> str:
    """The text blocks of the last user turn, joined by a line feed."""
    for turn in reversed(request.turns):
        if turn.role == "user":
            return "\n".join(item.block["text"] for item in turn.blocks if item.kind == "text")
    return ""
