"""What the docs print can be parsed: shell, YAML and JSON; and JSON requests name living models."""

import json
import re
import subprocess
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from isthmus import reference
from isthmus.errors import GatewayError
from isthmus.routing.parameters import ALIASES, PARAMETERS
from isthmus.routing.selector import OPTIONS, parse, printed

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"(?ms)^```(\w*)\n(.*?)^```$")
RETIRED = re.compile(r"claude-(?:3|2|instant|(?:opus|sonnet)-4-(?:1-)?20250)")


def blocks(kind: str) -> list[object]:
    """Each fenced block of a kind, with its page and its number there."""
    return [
        pytest.param(body, id=f"{page.relative_to(ROOT).as_posix()}-{number}")
        for page in PAGES
        for number, (language, body) in enumerate(BLOCK.findall(page.read_text()), start=1)
        if language == kind
    ]


@pytest.mark.parametrize("body", blocks("json"))
def test_json_is_a_whole_request(body: str) -> None:
    request = json.loads(body)
    assert {"model", "max_tokens", "messages"} <= request.keys()


@pytest.mark.parametrize("body", blocks("yaml"))
def test_yaml_is_a_config(body: str) -> None:
    assert isinstance(YAML(typ="safe").load(body), dict)


@pytest.mark.parametrize("body", blocks("sh"))
def test_shell_parses_and_bodies_are_json(body: str) -> None:
    subprocess.run(["sh", "-n"], input=body, text=True, check=True)
    for data in re.findall(r"-d '(.*?)'", body, re.DOTALL):
        assert isinstance(json.loads(data), dict)
    assert body.count("curl") == body.count("-d '")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_no_block_names_a_retired_model(page: Path) -> None:
    for _, body in BLOCK.findall(page.read_text()):
        assert not RETIRED.search(body)


def test_the_selector_page_has_every_parameter_with_its_range() -> None:
    page = (ROOT / "docs" / "uri-model-parameters.md").read_text("utf-8")
    assert page == reference.filled(page), "run: python -m isthmus.reference docs"
    for name in (*PARAMETERS, *ALIASES, *OPTIONS):
        assert page.count(f"\n| `{name}`") + page.count(f", `{name}` | ") == 1, name


def test_the_selectors_of_the_page_are_as_it_says() -> None:
    page = (ROOT / "docs" / "uri-model-parameters.md").read_text("utf-8")
    names = {"anthropic", "anthropic.2", "local", "openrouter"}
    read = re.findall(r"(?m)^\| `([^`]*)`.* \|$", page.partition("## Several models")[2])
    read = [text.replace("\\|", "|") for text in read if text not in OPTIONS]
    assert len(read) >= 6
    for text in read:
        assert printed(parse(text, names, ())) == text.replace(" ", "")
    (refused,) = re.findall(r"(?m)^(\S+) -> (model: .*)$", page)
    with pytest.raises(GatewayError) as refusal:
        parse(refused[0], names, ())
    assert refusal.value.message == refused[1]
