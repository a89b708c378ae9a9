"""The tables of the dialects that are spoken, on the clients' side and on the providers'."""

from __future__ import annotations

from isthmus.backends import Backend
from isthmus.backends import anthropic as anthropic_backend
from isthmus.frontends import Frontend, anthropic, gemini, openai_chat, openai_responses

FRONTENDS: dict[str, Frontend] = {
    module.DIALECT: module for module in (anthropic, gemini, openai_chat, openai_responses)
}
"""By dialect. Where a path is shared, routes with signs are tried before those without."""

BACKENDS: dict[str, Backend] = {"anthropic": anthropic_backend, "simulator": anthropic_backend}
"""By the ``type`` that the config names; the simulator speaks Anthropic's dialect."""
