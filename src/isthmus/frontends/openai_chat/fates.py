"""What becomes of each part of a Chat request, and of each part of Claude's answer to it."""

from __future__ import annotations

from isthmus.frontends.fates import Fates, lost
from isthmus.frontends.openai_chat import DROPPED

REQUEST: Fates = {
    "model": ("carried", "as a selector, which may name a backend and parameters"),
    "messages": ("carried", "see the next table"),
    "tools": (
        "carried",
        "functions: a name that Claude does not take, its own or a parameter's, is sent as another, and "
        "answers carry yours; "
        "`strict` is kept where the schema fits. Other types are refused",
    ),
    "tool_choice": (
        "approximated",
        "of `allowed_tools`, one that is required is forced; else all tools stay on offer. `auto` for "
        "models that cannot be forced",
    ),
    "parallel_tool_calls": ("carried", "`false` is said beside the tool choice"),
    "functions": ("carried", "the older form of `tools`; answers hold a `function_call`"),
    "function_call": ("carried", "the older form of `tool_choice`, which wins"),
    "web_search_options": (
        "approximated",
        "as Anthropic's web search, with `user_location`; `search_context_size` is left out. A function "
        "of yours that is named `web_search` is sent under another name",
    ),
    "max_completion_tokens": (
        "carried",
        "lowered to what the model writes at most, which is also what counts without it",
    ),
    "max_tokens": ("carried", "the older name of `max_completion_tokens`, which wins"),
    "stream": (
        "carried",
        "the provider is asked for a stream too, but where a short answer is wanted whole",
    ),
    "stream_options": ("carried", "`include_usage`; nothing is obfuscated"),
    "temperature": (
        "approximated",
        "1 at most; left out for models without sampling, and beside thinking",
    ),
    "top_p": (
        "approximated",
        "left out for models without sampling, beside `temperature` where a model takes one of them, "
        "and below 0.95 beside thinking",
    ),
    "top_k": ("approximated", "Anthropic's own; left out like `temperature`"),
    "stop": ("carried", "a sequence without a visible character is left out"),
    "thinking": (
        "carried",
        "Anthropic's own; becomes the nearest kind of thinking that the model has",
    ),
    "reasoning_effort": (
        "approximated",
        "switches thinking on with the nearest effort that the model has, or a budget; `minimal` "
        "becomes low, `none` switches it off",
    ),
    "response_format": (
        "approximated",
        "`json_schema` binds the answer to the schema, fitted to Claude's grammar; `json_object` is "
        "left out, since nothing would enforce it. An object with free keys, and documents with citations "
        "beside it, are refused",
    ),
    "service_tier": ("approximated", "`auto`, `default` and `standard_only`; others are left out"),
    "metadata": ("approximated", "its `user_id`; the rest is left out"),
    "user": ("carried", "as `metadata.user_id`"),
    "safety_identifier": (
        "carried",
        "as `metadata.user_id`, unless another name of the user is given",
    ),
    "cache_control": ("carried", "Anthropic's own, on the body, messages, parts and tools"),
    "prompt_cache_options": (
        "approximated",
        "`implicit`, where it is said, as Anthropic's automatic marker, for an hour, which is also how long "
        "a `prompt_cache_breakpoint` on a part lasts",
    ),
    "context_management": ("carried", "Anthropic's own; needs its beta in `anthropic-beta`"),
    "n": ("refused", "unless it is 1: Claude gives one answer"),
    "modalities": ("refused", "unless it is text"),
    "audio": ("refused", "Claude speaks no audio"),
    **lost({name: reason for name, (_, reason) in DROPPED.items()}),
    "any other": ("lost", "not known"),
}
"""By the members of a body; those of an ``extra_body`` count as the body's."""

ROLES: Fates = {
    "system": (
        "approximated",
        "leading ones become the system prompt; a later one stays at its place, as user text for "
        "models without such a role",
    ),
    "developer": ("approximated", "as `system`"),
    "user": ("carried", "neighbours become one turn"),
    "assistant": ("carried", "neighbours become one turn; blank text is left out"),
    "tool": (
        "carried",
        "after the call that it answers, with images and documents; one that answers no call becomes "
        "user text, and a call without one gets an error result",
    ),
    "function": ("carried", "the older form of `tool`"),
}

PARTS: Fates = {
    "text": ("carried", ""),
    "image_url": (
        "carried",
        "a URL, or png, jpeg, gif or webp as a data URL; `detail` is left out",
    ),
    "file": ("carried", "PDF, plain text or an image in `file_data`; a `file_id` is refused"),
    "image": ("carried", "Anthropic's own block, as it is"),
    "document": ("carried", "Anthropic's own block, as it is"),
    "refusal": ("carried", "as text of the assistant"),
}
"""By the types of content parts; any other is refused."""

ASSISTANT: Fates = {
    "tool_calls": ("carried", "arguments that are no JSON object are refused"),
    "function_call": ("carried", "the older form of `tool_calls`"),
    "refusal": ("carried", "as text"),
    "reasoning_details": (
        "carried",
        "thinking that Claude signed, and every other block, at its place in the turn; what is unsigned, "
        "foreign, or does not fit the content is left out",
    ),
    "thinking_blocks": (
        "carried",
        "the form of LiteLLM: signed thinking, sent first; `reasoning_details` wins",
    ),
    "reasoning_content": ("lost", "unless signed thinking came with it, whose text it shows"),
    "reasoning": ("lost", "unless signed thinking came with it, whose text it shows"),
    "annotations": ("lost", "unless the cited text came with it in `reasoning_details`"),
    "audio": ("refused", "its transcript can be sent as content"),
    "name": ("lost", "turns have no names"),
}
"""By the members of an assistant's message beside its role and content."""

ANSWER: Fates = {
    "text": ("carried", "`content`"),
    "citations of addresses": (
        "carried",
        "`annotations`, each for the whole text block around it; in a stream in the last chunk",
    ),
    "other citations": ("carried", "in `reasoning_details`"),
    "thinking": (
        "carried",
        "`reasoning_content`, a string, and with its signature in `reasoning_details`",
    ),
    "redacted_thinking": ("carried", "in `reasoning_details`"),
    "tool_use": ("carried", "`tool_calls`, under your names; arguments stream as they come"),
    "server tools and their results": (
        "carried",
        "in `reasoning_details`: they are no calls of yours; the text says what came of them",
    ),
    "compaction and other blocks": ("carried", "in `reasoning_details`"),
    "stop_reason": ("approximated", "`finish_reason`, see below"),
    "stop_sequence": ("lost", "Chat does not say which one it was"),
    "stop_details": ("carried", "the explanation of a refusal, as `refusal`"),
    "usage": (
        "carried",
        "cached tokens are part of `prompt_tokens`; `prompt_tokens_details` has what was read and "
        "written, `completion_tokens_details` what thinking took",
    ),
    "error": (
        "carried",
        "as a status, or as a last frame without `[DONE]` once the stream has begun",
    ),
    "ping": ("carried", "a comment"),
}
"""By what a Messages answer holds. What is lost on the way back has no note."""
