"""Tables: the calls and results of server tools."""

from __future__ import annotations

from .schema_base import FLAG, INTEGER, MAPPING, STRING, STRINGS, block, marked
from .schema_content import DOCUMENT
from .shapes import Either, Items, Object, Shape, Tagged, Text

CALLER = Tagged(
    {
        "direct": block(),
        "code_execution_20250825": Object({"type": STRING, "tool_id!": STRING}),
        "code_execution_20260120": Object({"type": STRING, "tool_id!": STRING}),
    }
)

SERVER_TOOL_ID = Text(pattern="srvtoolu_[a-zA-Z0-9_]+")
TOOL_REFERENCE = marked({"tool_name!": STRING})

SERVER_TOOLS = (
    "web_search",
    "web_fetch",
    "code_execution",
    "bash_code_execution",
    "text_editor_code_execution",
    "tool_search_tool_regex",
    "tool_search_tool_bm25",
    "advisor",
)

SERVER_TOOL_USE = marked(
    {"id!": SERVER_TOOL_ID, "name!": Text(values=SERVER_TOOLS), "input!": MAPPING, "caller": CALLER}
)

COMMON_FAULTS = ("invalid_tool_input", "unavailable", "too_many_requests")
TIMED_FAULTS = (*COMMON_FAULTS, "execution_time_exceeded")


def failure(codes: tuple[str, ...], **more: Shape) -> Object:
    """A server tool's error object."""
    return Object({"type": STRING, "error_code!": Text(values=codes), **more})


def server_result(content: Shape, **more: Shape) -> Object:
    """A server tool's result block."""
    return marked({"tool_use_id!": SERVER_TOOL_ID, "content!": content, **more})


SEARCH_FAILURE = failure(
    (*COMMON_FAULTS, "max_uses_exceeded", "query_too_long", "request_too_large")
)

WEB_SEARCH_RESULT = server_result(
    Either(
        array=Items(
            Object(
                {
                    "type!": Text(values=("web_search_result",)),
                    "url!": STRING,
                    "title!": STRING,
                    "encrypted_content!": STRING,
                    "page_age?": STRING,
                }
            )
        ),
        mapping=Tagged({"web_search_tool_result_error": SEARCH_FAILURE}),
    ),
    caller=CALLER,
)

FETCH_FAULTS = (
    *COMMON_FAULTS,
    "url_too_long",
    "url_not_allowed",
    "url_not_in_prior_context",
    "url_not_accessible",
    "unsupported_content_type",
    "max_uses_exceeded",
    "content_too_large",
)

WEB_FETCH_RESULT = server_result(
    Tagged(
        {
            "web_fetch_result": Object(
                {
                    "type": STRING,
                    "url!": STRING,
                    "content!": Tagged({"document": DOCUMENT}),
                    "retrieved_at?": STRING,
                }
            ),
            "web_fetch_tool_result_error": failure(FETCH_FAULTS),
        }
    ),
    caller=CALLER,
)


def outputs(kind: str) -> Items:
    """The files that a code run left behind."""
    return Items(Object({"type!": Text(values=(kind,)), "file_id!": STRING}))


RUN: dict[str, Shape] = {"type": STRING, "return_code!": INTEGER, "stderr!": STRING}

CODE_RESULT = server_result(
    Tagged(
        {
            "code_execution_result": Object(
                {**RUN, "stdout!": STRING, "content!": outputs("code_execution_output")}
            ),
            "encrypted_code_execution_result": Object(
                {**RUN, "encrypted_stdout!": STRING, "content!": outputs("code_execution_output")}
            ),
            "code_execution_tool_result_error": failure(TIMED_FAULTS),
        }
    )
)

BASH_RESULT = server_result(
    Tagged(
        {
            "bash_code_execution_result": Object(
                {**RUN, "stdout!": STRING, "content!": outputs("bash_code_execution_output")}
            ),
            "bash_code_execution_tool_result_error": failure(
                (*TIMED_FAULTS, "output_file_too_large")
            ),
        }
    )
)

EDITOR_RESULT = server_result(
    Tagged(
        {
            "text_editor_code_execution_view_result": Object(
                {
                    "type": STRING,
                    "content!": STRING,
                    "file_type!": Text(values=("text", "image", "pdf")),
                    "num_lines?": INTEGER,
                    "start_line?": INTEGER,
                    "total_lines?": INTEGER,
                }
            ),
            "text_editor_code_execution_create_result": Object(
                {"type": STRING, "is_file_update!": FLAG}
            ),
            "text_editor_code_execution_str_replace_result": Object(
                {
                    "type": STRING,
                    "lines?": STRINGS,
                    "new_lines?": INTEGER,
                    "new_start?": INTEGER,
                    "old_lines?": INTEGER,
                    "old_start?": INTEGER,
                }
            ),
            "text_editor_code_execution_tool_result_error": failure(
                (*TIMED_FAULTS, "file_not_found"), **{"error_message?": STRING}
            ),
        }
    )
)

TOOL_SEARCH_RESULT = server_result(
    Tagged(
        {
            "tool_search_tool_search_result": Object(
                {"type": STRING, "tool_references!": Items(TOOL_REFERENCE)}
            ),
            "tool_search_tool_result_error": failure(TIMED_FAULTS, **{"error_message?": STRING}),
        }
    )
)

ADVISOR_FAULTS = (
    "max_uses_exceeded",
    "prompt_too_long",
    "too_many_requests",
    "overloaded",
    "unavailable",
    "execution_time_exceeded",
    "model_not_found",
)

ADVISOR_RESULT = server_result(
    Tagged(
        {
            "advisor_result": Object({"type": STRING, "text!": STRING, "stop_reason?": STRING}),
            "advisor_redacted_result": Object(
                {"type": STRING, "encrypted_content!": STRING, "stop_reason?": STRING}
            ),
            "advisor_tool_result_error": failure(ADVISOR_FAULTS),
        }
    )
)
