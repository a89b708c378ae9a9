"""Tables: the shape of every entry of `tools`."""

from __future__ import annotations

from collections.abc import Sequence

from . import betas
from .schema_base import CACHE_CONTROL, CITATIONS_SWITCH, FLAG, MAPPING, MCP_TOOL, STRING, STRINGS
from .shapes import Gated, Items, Number, Object, Shape, Tagged, Text, Values

CALLERS = Items(
    Text(
        values=(
            "direct",
            "code_execution_20250825",
            "code_execution_20260120",
            "code_execution_20260521",
        )
    )
)
POSITIVE = Number(min=1)

BASE: dict[str, Shape] = {
    "type": STRING,
    "cache_control?": CACHE_CONTROL,
    "allowed_callers": CALLERS,
    "defer_loading": FLAG,
    "strict": FLAG,
}
EXAMPLES: dict[str, Shape] = {"input_examples": Items(MAPPING)}


def fixed(name: str, **more: Shape) -> Object:
    """A tool of Anthropic's whose name is fixed."""
    return Object({**BASE, "name!": Text(values=(name,)), **more})


CUSTOM = Object(
    {
        "type?": STRING,
        "name!": Text(pattern="[a-zA-Z0-9_-]{1,128}"),
        "description": STRING,
        "input_schema!": MAPPING,
        "cache_control?": CACHE_CONTROL,
        "allowed_callers": CALLERS,
        "defer_loading": FLAG,
        "strict": FLAG,
        "eager_input_streaming?": FLAG,
        **EXAMPLES,
    }
)

LOCATION = Object(
    {
        "type!": Text(values=("approximate",)),
        "city?": STRING,
        "region?": STRING,
        "country?": STRING,
        "timezone?": STRING,
    }
)
DOMAINS: dict[str, Shape] = {
    "allowed_domains?": STRINGS,
    "blocked_domains?": STRINGS,
    "max_uses?": POSITIVE,
}
SEARCH: dict[str, Shape] = {**DOMAINS, "user_location?": LOCATION}
SOME_TOOLS = Object({"type": STRING, "tools!": Items(Object({"type": STRING, "name!": STRING}))})
ALL_OR_NONE: dict[str, Shape] = {"all": Object({"type": STRING}), "none": Object({"type": STRING})}
URL_SOURCE = Tagged({**ALL_OR_NONE, "only": SOME_TOOLS, "except": SOME_TOOLS})
FETCH: dict[str, Shape] = {
    **DOMAINS,
    "citations?": CITATIONS_SWITCH,
    "max_content_tokens?": POSITIVE,
    "url_sources?": Object(
        {
            "client_tool_results": URL_SOURCE,
            "server_tool_results": URL_SOURCE,
            "user_input": Tagged(ALL_OR_NONE),
        }
    ),
}
INCLUSION: dict[str, Shape] = {"response_inclusion": Text(values=("full", "excluded"))}
SCREEN: dict[str, Shape] = {
    "display_width_px!": POSITIVE,
    "display_height_px!": POSITIVE,
    "display_number?": Number(min=0),
    **EXAMPLES,
}
MEMBER = Object({"enabled?": FLAG, "defer_loading?": FLAG})

COMPUTER_MEMBERS = """
cursor_position double_click hold_key key left_click left_click_drag left_mouse_down left_mouse_up middle_click
mouse_move right_click screenshot scroll triple_click type wait zoom
""".split()
BROWSER_MEMBERS = """
close_tab double_click file_upload find form_input get_page_text hold_key hover javascript_exec key left_click
left_click_drag left_mouse_down left_mouse_up list_tabs middle_click mouse_move navigate new_tab read_console
read_network read_page right_click screenshot scroll scroll_to switch_tab triple_click type wait zoom
""".split()


def toolset(members: Sequence[str]) -> Object:
    """A toolset: no name, a switch for each member."""
    configs = Object({f"{name}?": MEMBER for name in members})
    return Object({"type": STRING, "cache_control?": CACHE_CONTROL, "configs?": configs})


MCP_SWITCH = Object({"enabled": FLAG, "defer_loading": FLAG})
MCP_TOOLSET = Object(
    {
        "type": STRING,
        "mcp_server_name!": STRING,
        "cache_control?": CACHE_CONTROL,
        "configs?": Values(MCP_SWITCH),
        "default_config": MCP_SWITCH,
        "tools?": Gated(Items(MCP_TOOL), betas.MCP_LISTING),
    }
)

TOOLS: dict[str, Shape] = {
    "custom": CUSTOM,
    "bash_20241022": Gated(fixed("bash", **EXAMPLES), betas.COMPUTER_2024),
    "bash_20250124": fixed("bash", **EXAMPLES),
    "text_editor_20241022": Gated(fixed("str_replace_editor", **EXAMPLES), betas.COMPUTER_2024),
    "text_editor_20250124": fixed("str_replace_editor", **EXAMPLES),
    "text_editor_20250429": fixed("str_replace_based_edit_tool", **EXAMPLES),
    "text_editor_20250728": fixed(
        "str_replace_based_edit_tool", **EXAMPLES, **{"max_characters?": POSITIVE}
    ),
    "memory_20250818": fixed("memory", **EXAMPLES),
    "code_execution_20250522": fixed("code_execution"),
    "code_execution_20250825": fixed("code_execution"),
    "code_execution_20260120": fixed("code_execution"),
    "code_execution_20260521": fixed("code_execution"),
    "web_search_20250305": fixed("web_search", **SEARCH),
    "web_search_20260209": fixed("web_search", **SEARCH),
    "web_search_20260318": fixed("web_search", **SEARCH, **INCLUSION),
    "web_fetch_20250910": fixed("web_fetch", **FETCH),
    "web_fetch_20260209": fixed("web_fetch", **FETCH),
    "web_fetch_20260309": fixed("web_fetch", **FETCH, use_cache=FLAG),
    "web_fetch_20260318": fixed("web_fetch", **FETCH, **INCLUSION, use_cache=FLAG),
    "tool_search_tool_regex_20251119": fixed("tool_search_tool_regex"),
    "tool_search_tool_regex": fixed("tool_search_tool_regex"),
    "tool_search_tool_bm25_20251119": fixed("tool_search_tool_bm25"),
    "tool_search_tool_bm25": fixed("tool_search_tool_bm25"),
    "computer_toolset_20260801": toolset(COMPUTER_MEMBERS),
    "browser_toolset_20260801": toolset(BROWSER_MEMBERS),
    "computer_20241022": Gated(fixed("computer", **SCREEN), betas.COMPUTER_2024),
    "computer_20250124": Gated(fixed("computer", **SCREEN), betas.COMPUTER_JANUARY),
    "computer_20251124": Gated(
        fixed("computer", **SCREEN, enable_zoom=FLAG), betas.COMPUTER_NOVEMBER
    ),
    "advisor_20260301": Gated(
        fixed(
            "advisor",
            **{
                "model!": STRING,
                "max_tokens?": POSITIVE,
                "max_uses?": POSITIVE,
                "caching?": CACHE_CONTROL,
            },
        ),
        betas.ADVISOR,
    ),
    "mcp_toolset": Gated(MCP_TOOLSET, betas.MCP_TOOLSET),
}

TOOL = Tagged(TOOLS, otherwise="custom")
