"""What becomes of each part of a Responses request, and of each part of Claude's answer to it."""

from __future__ import annotations

from isthmus.frontends.fates import Fates, lost, refusals
from isthmus.frontends.openai_responses import DROPPED, items, tools

REQUEST: Fates = {
    "model": ("carried", "as a selector, which may name a backend and parameters"),
    "input": ("carried", "text, or items: see the next table"),
    "instructions": ("carried", "the first block of the system prompt"),
    "tools": ("carried", "see the table of tools"),
    "tool_choice": (
        "approximated",
        "of `allowed_tools`, one that is required is forced; else all tools stay on offer. `auto` for "
        "models that cannot be forced",
    ),
    "parallel_tool_calls": ("carried", "`false` is said beside the tool choice"),
    "max_output_tokens": (
        "carried",
        "lowered to what the model writes at most, which is also what counts without it",
    ),
    "stream": (
        "carried",
        "the provider is asked for a stream too, but where a short answer is wanted whole",
    ),
    "stream_options": ("approximated", "nothing is obfuscated"),
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
    "thinking": (
        "carried",
        "Anthropic's own; becomes the nearest kind of thinking that the model has",
    ),
    "reasoning": (
        "approximated",
        "`effort` switches thinking on with the nearest effort that the model has, or a budget; "
        "`minimal` becomes low, `none` switches it off; `summary` shows a summary. `context` and `mode` "
        "are left out",
    ),
    "text": (
        "approximated",
        "`json_schema` binds the answer to the schema, fitted to Claude's grammar; `json_object` is left "
        "out, since nothing would enforce it, and so is `verbosity`",
    ),
    "include": (
        "approximated",
        "`reasoning.encrypted_content` and `web_search_call.action.sources`; there is nothing of the rest",
    ),
    "max_tool_calls": (
        "approximated",
        "how often the web is searched; left out without web search",
    ),
    "context_management": (
        "approximated",
        "`compaction` at a threshold of 50,000 tokens at least; other kinds are left out",
    ),
    "truncation": ("approximated", "`disabled`: a conversation that is too long is an error"),
    "service_tier": ("approximated", "`auto`, `default` and `standard_only`; others are left out"),
    "metadata": ("approximated", "its `user_id`; the response repeats all of it"),
    "user": (
        "carried",
        "as `metadata.user_id`, unless another name of the user is given",
    ),
    "safety_identifier": ("carried", "as `metadata.user_id`"),
    "cache_control": ("carried", "Anthropic's own, on the body, parts and tools"),
    "store": (
        "carried",
        "kept unless it is `false`; where the gateway keeps nothing, that is noted",
    ),
    "previous_response_id": (
        "carried",
        "Claude is sent the whole conversation; one that is not there is refused",
    ),
    "conversation": ("refused", "conversations are not stored: send the items as `input`"),
    "prompt": ("refused", "prompts are not stored: send their text as `instructions`"),
    "background": ("refused", "unless it is `false`: ask for a stream"),
    **lost({name: reason for name, (_, reason) in DROPPED.items()}),
    "any other": ("lost", "not known"),
}
"""By the members of a body."""

_PACKED = "restored block for block, if it holds what an answer here gave it"

ITEMS: Fates = {
    "message": (
        "carried",
        "neighbours of one role become one turn; leading `system` and `developer` messages become the "
        "system prompt, later ones stay at their place, as user text for models without such a role. "
        "`phase` is left out",
    ),
    "reasoning": (
        "carried",
        f"by its `encrypted_content`: {_PACKED}. Any other is left out, since it cannot be verified",
    ),
    "function_call": ("carried", "`arguments` that are no JSON object are refused"),
    "function_call_output": (
        "carried",
        "after the call that it answers, with images and documents; one that answers no call becomes "
        "user text, and a call without one gets an error result",
    ),
    "custom_tool_call": ("carried", ""),
    "custom_tool_call_output": ("carried", "as `function_call_output`"),
    "local_shell_call": ("carried", "a call of the tool of that name"),
    "local_shell_call_output": ("carried", "as `function_call_output`"),
    "shell_call": ("carried", "a call of the tool of that name"),
    "shell_call_output": ("carried", "as `function_call_output`, its output as JSON"),
    "apply_patch_call": ("carried", "a call of the tool of that name"),
    "apply_patch_call_output": ("carried", "as `function_call_output`; a failed one is an error"),
    "additional_tools": ("carried", "as if they stood in `tools`, behind those"),
    "tool_search_output": ("carried", "its tools, as if they stood in `tools`, behind those"),
    "web_search_call": (
        "approximated",
        "the reasoning item behind it brings the search back with all that it found; without that it is "
        "left out, and the text after it tells",
    ),
    "compaction": (
        "carried",
        f"{_PACKED}, else refused. The newest counts. One that was asked for goes to the front, before "
        "messages that were kept beside it",
    ),
    "compaction_trigger": ("carried", "the answer is a compaction of the conversation"),
    **lost(items.LEFT_OUT),
    **refusals(items.REFUSED),
}
"""By the types of items."""

PARTS: Fates = {
    "input_text": ("carried", ""),
    "text": ("carried", "as `input_text`"),
    "input_image": (
        "carried",
        "a URL, or png, jpeg, gif or webp as a data URL; a `file_id` is refused, `detail` left out",
    ),
    "input_file": (
        "carried",
        "PDF, plain text or an image in `file_data`, a PDF behind `file_url`; a `file_id` is refused",
    ),
    "output_text": ("carried", "`annotations` and `logprobs` are left out"),
    "refusal": ("carried", "as text of the assistant"),
}
"""By the types of content parts; any other is refused."""

_SEARCH = (
    "as Claude's own web search, with `filters.allowed_domains` and `user_location`; how much is read is "
    "left to Claude, and `external_web_access: false` is noted, since Claude has one search"
)

TOOLS: Fates = {
    "function": (
        "carried",
        "a name that Claude does not take is sent as another, and answers carry yours; `strict` is kept "
        "where the schema fits; `defer_loading`, `allowed_callers`, `output_schema` and `async` are left out",
    ),
    "custom": ("approximated", "with one property, its text; a grammar is told, not enforced"),
    "namespace": ("carried", "each tool by a joined name; answers carry both parts"),
    "web_search": ("approximated", _SEARCH),
    "web_search_2025_08_26": ("approximated", "as `web_search`"),
    "web_search_preview": ("approximated", "as `web_search`"),
    "web_search_preview_2025_03_11": ("approximated", "as `web_search`"),
    "local_shell": ("carried", "as a function; calls come back as `local_shell_call`"),
    "shell": (
        "carried",
        "as a function; calls come back as `shell_call`. An `environment` of OpenAI's is refused",
    ),
    "apply_patch": ("carried", "as a function; calls come back as `apply_patch_call`"),
    **lost(tools.LEFT_OUT),
    **refusals(tools.REFUSED),
}
"""By the types of tools; any other is refused."""

ANSWER: Fates = {
    "text": ("carried", "`output_text`; neighbouring texts are parts of one message"),
    "citations of web pages": (
        "carried",
        "`url_citation`, each for the whole part that holds it, counted in characters",
    ),
    "other citations": (
        "approximated",
        "`file_citation` with the place and the title of the document; of where in it nothing is said",
    ),
    "thinking": (
        "carried",
        "a `reasoning` item: the text as its summary, all of it in `encrypted_content` where that is "
        "included",
    ),
    "redacted_thinking": ("carried", "in the `encrypted_content` of a `reasoning` item"),
    "tool_use": (
        "carried",
        "the call item of its tool, under your names; arguments stream as they come, those of `shell`, "
        "`local_shell` and `apply_patch` whole",
    ),
    "web search": ("carried", "`web_search_call`, its sources where they are included"),
    "web fetch": ("carried", "`web_search_call` with the action `open_page`"),
    "other server tools": ("approximated", "no item of their own; see the next line"),
    "results of server tools": (
        "approximated",
        "sealed with their calls into a `reasoning` item without text, where `encrypted_content` is "
        "included: sent back, it restores them",
    ),
    "compaction": ("carried", "a `compaction` item, always with `encrypted_content`"),
    "stop_reason": ("approximated", "`status` and `incomplete_details`, see below"),
    "stop_sequence": ("lost", "Responses do not say which one it was"),
    "stop_details": ("carried", "the explanation of a refusal, as a `refusal` part"),
    "usage": (
        "carried",
        "cached tokens are part of `input_tokens`; `input_tokens_details` has what was read and written, "
        "`output_tokens_details` what thinking took",
    ),
    "error": (
        "carried",
        "as a status, or as `response.failed` with what had come once the stream has begun",
    ),
    "ping": ("carried", "a comment"),
}
"""By what a Messages answer holds. What is lost on the way back has no note."""
