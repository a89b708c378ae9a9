"""The Anthropic backend: golden cases of what reaches the provider, to the byte, whoever asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from isthmus.config import Config
from isthmus.dialects import BACKENDS, FRONTENDS
from isthmus.frontends import matched
from isthmus.plan import plan
from isthmus.request import HttpRequest
from tests.harness import target_of

CASES = Path(__file__).parent / "wire" / "anthropic"


def cases() -> list[Any]:
    """A case gives ``dialect``, ``path`` with its query, ``headers``, ``body`` and ``config``; ``sent``
    is what the provider gets, and ``notes`` are what the client is told. A body is JSON, which is
    written without white space, or its very text."""
    found = sorted(CASES.glob("*.json"))
    assert found
    return [
        pytest.param(case, id=f"{path.stem}: {name}")
        for path in found
        for name, case in json.loads(path.read_text()).items()
    ]


def text(body: Any) -> str:
    if isinstance(body, str):
        return body
    return json.dumps(body, separators=(",", ":"), ensure_ascii=False)


@pytest.mark.parametrize("case", cases())
def test_this_is_what_the_provider_gets(case: dict[str, Any]) -> None:
    frontend = FRONTENDS[case["dialect"]]
    path, _, query = case["path"].partition("?")
    headers = tuple((name, value) for name, value in case.get("headers", ()))
    http = HttpRequest("POST", path, query, headers, text(case["body"]).encode())
    match = next(m for r in frontend.ROUTES if r.method == "POST" and (m := matched(r, path)))
    config = Config.model_validate(case.get("config", {}))
    request = frontend.decode(http, match)
    request.key = "sk-of-the-gateway"
    target = target_of(request, config)
    made = plan(request, target, BACKENDS["anthropic"], strict=False)
    sent = case["sent"]
    target_path = made.http.path + (f"?{made.http.query}" if made.http.query else "")
    assert target_path == sent["path"]
    assert [list(row) for row in made.http.headers] == sent["headers"]
    expected = text(case["body"] if sent["body"] == "as it came" else sent["body"])
    assert made.http.body.decode() == expected
    assert [str(note) for note in made.notes.rows] == sent.get("notes", [])
