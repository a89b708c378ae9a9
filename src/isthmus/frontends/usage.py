"""What an answer used in all, where the provider counts it in several runs of a model.

Source: Anthropic's Messages API reference (``usage.iterations``): the counts beside the list leave out
the runs that compacted the context or advised the model, which are billed too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

SUMMED = (
    "input_tokens",
    "cache_creation_input_tokens",
    "cache_read_input_tokens",
    "output_tokens",
)


def whole_usage(usage: Mapping[str, Any]) -> Mapping[str, Any]:
    """The usage of a Messages answer with its tokens summed over ``iterations``, where there are any.

    A count that no iteration has stays as it is beside them.
    """
    rows = usage.get("iterations")
    runs = cast("list[Any]", rows) if isinstance(rows, list) else []
    runs = [cast("dict[str, Any]", run) for run in runs if isinstance(run, dict)]
    counts = {name: [run[name] for run in runs if _is_count(run.get(name))] for name in SUMMED}
    return {**usage, **{name: sum(found) for name, found in counts.items() if found}}


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
