"""Tables: the shape of every content block that a request may carry."""

from __future__ import annotations

from . import betas
from .schema_base import CITATIONS_SWITCH, COUNT, FLAG, MAPPING, MCP_TOOL, STRING, block, marked
from .schema_content import DOCUMENT, IMAGE, TEXT
from .schema_server_tools import (
    ADVISOR_RESULT,
    BASH_RESULT,
    CALLER,
    CODE_RESULT,
    EDITOR_RESULT,
    SERVER_TOOL_USE,
    TOOL_REFERENCE,
    TOOL_SEARCH_RESULT,
    WEB_FETCH_RESULT,
    WEB_SEARCH_RESULT,
)
from .schema_tools import TOOL
from .shapes import Anything, Either, Gated, Items, Object, Shape, Tagged, Text

SEARCH_RESULT = marked(
    {"source!": STRING, "title!": STRING, "content!": Items(TEXT), "citations": CITATIONS_SWITCH}
)

TOOL_ID = Text(pattern="[a-zA-Z0-9_-]+")

TOOL_USE = marked(
    {
        "id!": TOOL_ID,
        "name!": Text(min=1, max=200),
        "input!": MAPPING,
        "caller": CALLER,
        "toolset_name?": STRING,
    }
)

BROWSER_STATE = marked(
    {
        "tabs!": Items(
            Object({"tab_id!": STRING, "title!": STRING, "url!": STRING, "active": FLAG})
        ),
        "state_changes?": Items(
            Tagged(
                {
                    "tab_opened": Object({"type": STRING, "tab_id!": STRING}),
                    "download_started": Object(
                        {"type": STRING, "download_id!": STRING, "url!": STRING}
                    ),
                    "download_completed": Object(
                        {
                            "type": STRING,
                            "download_id!": STRING,
                            "url!": STRING,
                            "path?": STRING,
                            "size_bytes?": COUNT,
                        }
                    ),
                    "download_failed": Object(
                        {"type": STRING, "download_id!": STRING, "url!": STRING, "error?": STRING}
                    ),
                }
            )
        ),
    }
)

RESULT_PART = Tagged(
    {
        "text": TEXT,
        "image": IMAGE,
        "search_result": SEARCH_RESULT,
        "document": DOCUMENT,
        "tool_reference": TOOL_REFERENCE,
        "browser_state": BROWSER_STATE,
    }
)

TOOL_RESULT = marked(
    {
        "tool_use_id!": TOOL_ID,
        "content": Either(string=STRING, array=Items(RESULT_PART)),
        "is_error": FLAG,
        "toolset_name?": STRING,
    }
)

MCP_TOOL_USE = marked({"id!": TOOL_ID, "name!": STRING, "server_name!": STRING, "input!": MAPPING})
MCP_TOOL_RESULT = marked(
    {"tool_use_id!": TOOL_ID, "content": Either(string=STRING, array=Items(TEXT)), "is_error": FLAG}
)


REFERENCES: dict[str, Shape] = {
    "tool_reference": Object({"type": STRING, "name!": STRING}),
    "mcp_tool_reference": Object({"type": STRING, "name!": STRING, "server_name!": STRING}),
    "mcp_toolset_reference": Object({"type": STRING, "server_name!": STRING}),
}
DEFINITION = Gated(Object({"type": STRING, "definition!": TOOL}), betas.INLINE_TOOLS)

TOOL_ADDITION = marked({"tool!": Tagged({**REFERENCES, "tool_definition": DEFINITION})})
TOOL_REMOVAL = marked({"tool!": Tagged(REFERENCES)})

COMPACTION = marked(
    {
        "content?": STRING,
        "encrypted_content?": STRING,
        "signature?": STRING,
        "tool_changes?": Items(
            Tagged({"tool_addition": TOOL_ADDITION, "tool_removal": TOOL_REMOVAL})
        ),
    }
)

FALLBACK_STEP = Object({"model!": STRING})

BLOCKS: dict[str, Shape] = {
    "text": TEXT,
    "image": IMAGE,
    "document": DOCUMENT,
    "search_result": SEARCH_RESULT,
    "thinking": block(**{"thinking!": STRING, "signature!": STRING}),
    "redacted_thinking": block(**{"data!": STRING}),
    "tool_use": TOOL_USE,
    "tool_result": TOOL_RESULT,
    "server_tool_use": SERVER_TOOL_USE,
    "web_search_tool_result": WEB_SEARCH_RESULT,
    "web_fetch_tool_result": WEB_FETCH_RESULT,
    "code_execution_tool_result": CODE_RESULT,
    "bash_code_execution_tool_result": BASH_RESULT,
    "text_editor_code_execution_tool_result": EDITOR_RESULT,
    "tool_search_tool_result": TOOL_SEARCH_RESULT,
    "container_upload": marked({"file_id!": STRING}),
    "mcp_tool_use": Gated(MCP_TOOL_USE, betas.MCP),
    "mcp_tool_result": Gated(MCP_TOOL_RESULT, betas.MCP),
    "mcp_tool_listing": Gated(
        block(**{"mcp_server_name!": STRING, "tools!": Items(MCP_TOOL)}), betas.MCP_LISTING
    ),
    "advisor_tool_result": Gated(ADVISOR_RESULT, betas.ADVISOR),
    "compaction": Gated(COMPACTION, betas.COMPACT),
    "fallback": Gated(
        block(**{"from!": FALLBACK_STEP, "to!": FALLBACK_STEP, "trigger": Anything()}),
        betas.FALLBACK,
    ),
    "tool_addition": Gated(TOOL_ADDITION, betas.TOOL_CHANGES | betas.INLINE_TOOLS),
    "tool_removal": Gated(TOOL_REMOVAL, betas.TOOL_CHANGES | betas.INLINE_TOOLS),
}
