"""What becomes of each part of a Gemini request, and of each part of Claude's answer to it."""

from __future__ import annotations

from isthmus.frontends.fates import Fate, Fates, lost, refused
from isthmus.frontends.gemini import KNOBS, REFUSED
from isthmus.frontends.gemini import settings as config
from isthmus.frontends.gemini.contents import HINTS, UNSUPPORTED
from isthmus.frontends.gemini.served import NATIVE_PARTS

REQUEST: Fates = {
    "model": ("carried", "the one in the path, as a selector; the body's own says nothing"),
    "contents": ("carried", "see the table of parts"),
    "systemInstruction": ("carried", "text only, anything else is refused"),
    "tools": ("carried", "see the table of tools"),
    "toolConfig": (
        "approximated",
        "`functionCallingConfig`: AUTO, ANY, NONE, and one allowed name; with more of them all functions "
        "stay on offer, and VALIDATED becomes AUTO. What concerns Google's own tools is left out",
    ),
    "generationConfig": ("carried", "see its table"),
    **refused(REFUSED, "what Google holds is out of reach; send the contents"),
    "serviceTier": ("approximated", "standard and priority; others are left out"),
    "cacheControl": ("carried", "Anthropic's own, on the body, parts and declarations"),
    **lost(KNOBS),
    "any other": ("lost", "not known"),
}
"""By the members of a body, in camelCase; snake_case is read alike."""

CONFIG: Fates = {
    "temperature": (
        "approximated",
        "1 at most; left out for models without sampling, and beside thinking",
    ),
    "topP": (
        "approximated",
        "left out for models without sampling, beside `temperature` where a model takes one of them, "
        "and below 0.95 beside thinking",
    ),
    "topK": ("approximated", "left out like `temperature`"),
    "maxOutputTokens": (
        "carried",
        "lowered to what the model writes at most, which is also what counts without it",
    ),
    "stopSequences": ("carried", "a sequence without a visible character is left out"),
    "candidateCount": ("refused", "unless it is 1: Claude gives one answer"),
    "thinkingConfig": (
        "approximated",
        "a level becomes the nearest effort (MINIMAL: low), a budget the nearest kind of thinking that "
        "the model has; 0 switches it off where it can be; `includeThoughts` shows a summary",
    ),
    "responseMimeType": (
        "approximated",
        "application/json with a schema; without one it is left out, since nothing would enforce it. "
        "text/x.enum is refused",
    ),
    "responseSchema": ("carried", "binds the answer to it, fitted to Claude's grammar"),
    "responseJsonSchema": ("carried", "as `responseSchema`"),
    "responseFormat": ("refused", "`responseJsonSchema` says the same"),
    "responseModalities": ("approximated", "TEXT; others are left out beside it and refused alone"),
    **lost(config.KNOBS),
}
"""By the members of ``generationConfig``."""

_SEARCH: tuple[Fate, str] = (
    "approximated",
    "Claude's web search, with `excludeDomains`; other options are left out. A function of yours named "
    "`web_search` is sent under another name",
)

TOOLS: Fates = {
    "functionDeclarations": (
        "carried",
        "a name that Claude does not take is sent as another, and answers carry yours; `response` and "
        "`behavior` are left out",
    ),
    "googleSearch": _SEARCH,
    "googleSearchRetrieval": _SEARCH,
    "urlContext": ("approximated", "Claude's web fetch, named `web_fetch`"),
    "codeExecution": ("approximated", "Claude's code execution, named `code_execution`"),
    **refused(config.SERVED_BY_GOOGLE, "Google runs it; a function can be declared in its place"),
}
"""By the members of a tool."""

_RESTORED: tuple[Fate, str] = (
    "approximated",
    "restored from our signature in the same turn of the model, else left out; refused in a turn of the "
    "user",
)

PARTS: Fates = {
    "text": ("carried", "what the model said in neighbouring parts becomes one text"),
    "inlineData": (
        "carried",
        "png, jpeg, gif, webp, PDF and text, either base64 alphabet; others are refused",
    ),
    "fileData": ("carried", "public https URIs of images and PDFs; files at Google are refused"),
    "functionCall": ("carried", "with or without an id"),
    "functionResponse": (
        "carried",
        "by id, else by name and order, with images and PDFs; one that answers no call becomes user text",
    ),
    "thoughtSignature": (
        "carried",
        "one of ours restores at its place what parts cannot hold: thinking, the calls and results of "
        "server tools, citations, compactions; any other is left out, not verifiable",
    ),
    "thought": ("lost", "the text of a thought; its signature carries the thinking"),
    "cacheControl": ("carried", "Anthropic's own"),
    "a block of Anthropic's": ("carried", "an image or a document as Anthropic writes it"),
    **lost(dict.fromkeys(HINTS, "Claude takes no such hint")),
    **dict.fromkeys(NATIVE_PARTS, _RESTORED),
    **refused(UNSUPPORTED, "of audio"),
}
"""By the members of a part."""

ANSWER: Fates = {
    "text": ("carried", "`text`"),
    "citations": (
        "carried",
        "`groundingMetadata` of the last response: a chunk for each source, a support for each cited "
        "text, its place in bytes; they return in the `thoughtSignature`",
    ),
    "thinking": (
        "carried",
        "with its signature in the `thoughtSignature` of a later part, its text as a thought where "
        "`includeThoughts` asks for it",
    ),
    "redacted_thinking": ("carried", "in the same `thoughtSignature`"),
    "tool_use": ("carried", "`functionCall` with an id, under your names, whole"),
    "server tools and their results": (
        "approximated",
        "no calls of yours: searches are `webSearchQueries`, fetches `urlContextMetadata`, runs of code "
        "`executableCode` and `codeExecutionResult`; whole they return in the `thoughtSignature`",
    ),
    "compaction": ("carried", "in the `thoughtSignature`"),
    "container_upload": (
        "carried",
        "in the `thoughtSignature`; the file itself stays at Anthropic",
    ),
    "stop_reason": ("approximated", "`finishReason`, see below"),
    "stop_sequence": ("lost", "Gemini does not say which one it was"),
    "stop_details": ("carried", "the explanation of a refusal, as `finishMessage`"),
    "usage": (
        "approximated",
        "`usageMetadata`: cached tokens are part of `promptTokenCount`; what was written to the cache "
        "is in no count of its own",
    ),
    "error": ("carried", "as a status, or as the last element once the stream has begun"),
    "ping": ("carried", "an empty event, or white space in an array"),
}
"""By what a Messages answer holds. What is lost on the way back has no note."""
