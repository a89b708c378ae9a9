"""The command line: exit codes, what it prints, and that a mistake binds nothing."""

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from isthmus import __version__, reference
from isthmus.cli import app, banner_lines, check_lines, masked
from isthmus.config import BackendConfig, Config, load

ROOT = Path(__file__).parents[1]
SECRET = "sk-ant-api03-abcdefghijklmnop"
OPEN = (
    "is not a loopback address, so clients need keys: "
    "set ISTHMUS_API_KEYS or auth.keys, or listen on 127.0.0.1"
)
SIM = "backends: {sim: {type: simulator}}\n"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith(("ISTHMUS_", "ANTHROPIC_")):
            monkeypatch.delenv(name)
    return tmp_path


def isthmus(*arguments: str, **environ: str) -> Result:
    return CliRunner().invoke(app, arguments, env=environ, prog_name="isthmus")


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "isthmus", *arguments]


@contextmanager
def running(*arguments: str, **environ: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        command(*arguments),
        env={**os.environ, **environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@contextmanager
def taken_port() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_version() -> None:
    assert isthmus("--version").output == f"isthmus {__version__}\n"


@pytest.mark.parametrize("arguments", [(), ("serve",), ("check",)])
def test_a_mistake_ends_with_2_and_names_everything(arguments: tuple[str, ...]) -> None:
    Path("config.yaml").write_text("prot: 1\nhost: 0.0.0.0\n")
    result = isthmus(*arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.splitlines() == [
        "config.yaml:1:1: unknown key 'prot'; did you mean 'port'?",
        f"config.yaml:2:7: host: {OPEN}",
        "backends.anthropic: has no key: set ANTHROPIC_API_KEY or backends.anthropic.api_key",
    ]


@pytest.mark.parametrize(
    "arguments",
    [
        ("--bogus",),
        ("serve", "--bogus"),
        ("serve", "more"),
        ("nothing",),
        ("check", "--port", "x"),
        ("simulate", "--port", "70000"),
        ("--port", "1", "simulate"),
    ],
)
def test_a_wrong_command_line_ends_with_2(arguments: tuple[str, ...]) -> None:
    result = isthmus(*arguments, ANTHROPIC_API_KEY=SECRET)
    assert result.exit_code == 2
    assert "Error: " in result.stderr
    assert "Traceback" not in result.output


def test_a_flag_before_the_command_counts_for_it() -> None:
    result = isthmus("--model-alias", "a=b", "check", ANTHROPIC_API_KEY=SECRET)
    assert "model_aliases = [a -> b] # flag --model-alias" in re.sub(" +", " ", result.stdout)


def test_check_prints_values_sources_and_no_keys() -> None:
    Path("config.yaml").write_text("port: ${P}\nauth:\n  keys: [my-gateway-key, '${LONG}']\n")
    result = isthmus(
        *("--host", "127.0.0.2", "--model-alias", "a=b", "check", "--force-model", "m"),
        *("--model-alias", r"c(.*)=d\1?effort=low", "--model-alias", "e=f|g"),
        *("--force-context-window", "5000"),
        P="9000",
        LONG="0123456789012345wxyz",
        ANTHROPIC_API_KEY=SECRET,
        ISTHMUS_HOST="127.0.0.3",
    )
    assert result.exit_code == 0
    rows = {re.sub(" +", " ", line) for line in result.stdout.splitlines()}
    assert {
        "host = 127.0.0.2 # flag --host",
        "port = 9000 # file config.yaml:1 via ${P}",
        "anthropic_port = null # default",
        "default_backend = anthropic # default",
        "force_model = m # flag --force-model",
        r"model_aliases = [c(.*) -> d\1?effort=low, e -> f|g] # flag --model-alias",
        "force_context_window = 5000 # flag --force-context-window",
        "backends.anthropic.api_key = sk-ant-…mnop # environment ANTHROPIC_API_KEY",
        "auth.keys = [****, …wxyz] # file config.yaml:3 via ${LONG}",
        "timeouts.idle = 300.0 # default",
    } <= rows
    columns = {line.index(" = ") for line in result.stdout.splitlines()}
    assert len(columns) == 1


@pytest.mark.parametrize(
    ("secret", "shown"),
    [
        ("", "****"),
        ("sk-ant-short", "****"),
        ("x" * 19, "****"),
        ("x" * 16 + "tail", "…tail"),
        (SECRET, "sk-ant-…mnop"),
    ],
)
def test_masks(secret: str, shown: str) -> None:
    assert masked(secret) == shown


def test_no_output_holds_a_key() -> None:
    environ = {"ANTHROPIC_API_KEY": SECRET, "ISTHMUS_API_KEYS": "gateway-key-0123456789"}
    resolved = load(None, environ, {})
    printed = "\n".join(check_lines(resolved) + banner_lines(resolved.config, {"main": 1}))
    assert SECRET not in printed
    assert "gateway-key" not in printed


def test_the_banner_names_every_dialect() -> None:
    config = load(None, {"ANTHROPIC_API_KEY": SECRET}, {"force_model": "some-model"}).config
    text = "\n".join(banner_lines(config, {"main": 8000, "anthropic": 8001}))
    assert "backend anthropic (type anthropic) answers: https://api.anthropic.com" in text
    assert "every request is answered by some-model" in text
    urls = ("http://127.0.0.1:8000/anthropic", "http://127.0.0.1:8001", "http://127.0.0.1:8000/v1")
    assert all(url in text for url in urls)
    assert "ANTHROPIC_BASE_URL=http://127.0.0.1:8000 ANTHROPIC_API_KEY=any claude" in text
    assert "ISTHMUS_KEY" not in text


def test_the_banner_says_when_answers_are_made_up_and_where_keys_go() -> None:
    config = Config.model_validate(
        {"host": "::", "backends": {"s": {"type": "simulator"}}, "auth": {"keys": ["long-enough"]}}
    )
    lines = banner_lines(config, {"main": 80})
    assert "  backend s (type simulator) answers: made-up answers, no model" in lines
    [curl] = [line for line in lines if "curl" in line]
    words = shlex.split(curl)
    assert words[:2] == ["curl", "http://[::1]:80/v1/messages"]
    assert "x-api-key: $ISTHMUS_KEY" in words
    assert '"$ISTHMUS_KEY"' in curl, "the shell has to fill it in"


def test_the_banner_asks_for_a_listed_model() -> None:
    config = Config(backends={"a": BackendConfig(type="simulator", models=["only-this"])})
    assert '"model": "only-this"' in banner_lines(config, {"main": 1})[-1]


def answer(url: str, curl: str) -> str:
    done = subprocess.run(
        [*shlex.split(curl), "-sS", "--max-time", "10"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{url}: {done.stderr}"
    return done.stdout


def test_serve_answers_the_request_that_it_prints() -> None:
    Path("config.yaml").write_text(SIM + "port: 0\nanthropic_port: 0\n")
    with running("serve") as process:
        assert process.stdout is not None
        line = ""
        while "curl" not in line:
            line = process.stdout.readline()
            assert line, process.communicate()[1]
        assert re.search(r"http://127\.0\.0\.1:[1-9]\d*/v1/messages", line)
        assert '"type":"message"' in answer("serve", line.strip()).replace(" ", "")
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) in (0, -signal.SIGTERM)


def test_simulate_says_where_it_is() -> None:
    with running("simulate", "--port", "0", "--no-retired") as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        assert re.search(r"at http://127\.0\.0\.1:[1-9]\d* with made-up text", first)
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0


@pytest.mark.parametrize("arguments", [("serve",), ("simulate",), ("--anthropic-port", "0")])
def test_a_taken_port_ends_with_2(arguments: tuple[str, ...]) -> None:
    Path("config.yaml").write_text(SIM)
    with taken_port() as port:
        done = subprocess.run(
            command(*arguments, "--port", str(port)),
            capture_output=True,
            text=True,
            check=False,
            timeout=20,
        )
    assert done.returncode == 2
    assert done.stderr.startswith(f"127.0.0.1:{port} is already in use")
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_an_address_of_another_machine_ends_with_2() -> None:
    Path("config.yaml").write_text(SIM)
    done = subprocess.run(
        command("--host", "192.0.2.1", "--port", "0"),
        env={**os.environ, "ISTHMUS_API_KEYS": "long-enough-key"},
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )
    assert done.returncode == 2
    assert done.stderr == "192.0.2.1 is not an address of this machine\n"


def test_a_mistake_is_told_at_once_and_nothing_is_bound() -> None:
    Path("config.yaml").write_text("timeouts: {idle: x}\n")
    with taken_port() as port:
        pass
    started = time.monotonic()
    done = subprocess.run(
        command("--port", str(port)), capture_output=True, text=True, check=False, timeout=20
    )
    assert time.monotonic() - started < 10
    assert done.returncode == 2
    assert "in use" not in done.stderr
    assert "timeouts.idle" in done.stderr
    assert "set ANTHROPIC_API_KEY" in done.stderr


def test_the_documented_command_without_a_key() -> None:
    arguments = "--default-backend anthropic --force-model claude-3-5-sonnet-20241022".split()
    done = subprocess.run(
        [sys.executable, "-m", "src.core.cli", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )
    assert done.returncode == 2
    assert "has no key: set ANTHROPIC_API_KEY" in done.stderr
    result = isthmus(*arguments, "check", ANTHROPIC_API_KEY=SECRET)
    assert "claude-3-5-sonnet-20241022" in result.stdout


def test_the_quick_commands_do_not_import_the_server() -> None:
    script = (
        "import sys, isthmus.cli\n"
        "late = [m for m in sys.modules if m.startswith(('isthmus.server', 'isthmus.simulator', 'uvicorn'))]\n"
        "sys.exit(str(late) if late else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_reference_is_up_to_date() -> None:
    page = (ROOT / "docs" / "cli.md").read_text("utf-8")
    assert page == reference.filled(page), "run: python -m isthmus.reference docs"
    assert page.count("<!-- generated: ") == 3


def test_the_commands_of_the_page_are_known() -> None:
    page = (ROOT / "docs" / "cli.md").read_text("utf-8")
    commands = re.findall(r"^\$ (?:isthmus|python -m src\.core\.cli)(.*)$", page, re.MULTILINE)
    assert len(commands) == 6
    for arguments in commands:
        assert isthmus(*arguments.split(), "--help").exit_code == 0
