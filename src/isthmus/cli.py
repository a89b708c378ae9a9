"""The command line: `isthmus serve`, `check`, `explain` and `simulate`. Scripts rely on these names."""

import asyncio
import errno
import inspect
import os
import shlex
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, NoReturn
from urllib.parse import urlencode

import typer
from pydantic import SecretStr

from isthmus import __version__
from isthmus.config import (
    BACKEND_TYPES,
    SETTINGS,
    Config,
    ConfigErrors,
    Resolved,
    first_backend,
    key_variables,
    leaves,
    load,
)
from isthmus.routing_settings import RewriteConfig

# What a mistake of the caller ends with; 1 is left to what nobody foresaw.
FAILED = 1
MISTAKE = 2
SIMULATOR_PORT = 8765
# Stands for a provider's key where none is at hand and nothing is sent.
UNSET_KEY = "no-key-was-given"

app = typer.Typer(
    name="isthmus",
    help="An LLM gateway: any client speaks its own dialect, and Claude, or any model, answers.",
    add_completion=False,
    rich_markup_mode=None,
    # Its tracebacks show local variables, and those hold keys.
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main() -> None:
    """Run the command line with the arguments of the process, and end it."""
    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot show a character gets its code, not a traceback.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    app(prog_name="isthmus")


_KINDS: Mapping[str, tuple[Any, str]] = {
    "port": (int, "PORT"),
    "tokens": (str, "TOKENS"),
    "list of rewrites": (list[str], "'PATTERN=REPLACEMENT'"),
}
"""What an option takes, by the title of its key, where that is not just text."""


def _with_settings(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command `--config` and an option for each row of SETTINGS that has a flag."""
    parameters = [*inspect.signature(command).parameters.values()][:-1]
    config = typer.Option(
        "--config",
        metavar="FILE",
        help="The configuration file; by default config.yaml, if there is one. [ISTHMUS_CONFIG]",
        show_default=False,
    )
    options: list[tuple[str, Any, Any]] = [("config", Path, config)]
    for key, variable, flag in SETTINGS:
        if flag:
            field = Config.model_fields[key]
            kind, metavar = _KINDS.get((field.title or "").partition(" or ")[0], (str, None))
            text = f"{field.description} [{variable}]"
            option = typer.Option(flag, help=text, show_default=False, metavar=metavar)
            options.append((key, kind, option))
    keyword = inspect.Parameter.KEYWORD_ONLY
    parameters += [
        inspect.Parameter(name, keyword, default=None, annotation=Annotated[kind | None, option])
        for name, kind, option in options
    ]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return command


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"isthmus {__version__}")
        raise typer.Exit


Version = Annotated[
    bool,
    typer.Option(
        "--version", callback=_print_version, is_eager=True, help="Print the version and end."
    ),
]


@app.callback(invoke_without_command=True)
@_with_settings
def isthmus(context: typer.Context, version: Version = False, **given: Any) -> None:
    """Any client speaks its own dialect, and Claude, or any model, answers.

    Without a command: `serve`, with the same options.
    """
    context.obj = {name: value for name, value in given.items() if value is not None}
    if context.invoked_subcommand is None:
        _serve(context.obj)
    elif context.invoked_subcommand == "simulate" and context.obj:
        raise typer.BadParameter("options of `simulate` go behind it")


@app.command()
@_with_settings
def serve(context: typer.Context, **given: Any) -> None:
    """Serve until told to stop. Nothing is bound where the configuration has a mistake."""
    _serve(_merged(context, given))


@app.command()
@_with_settings
def check(context: typer.Context, **given: Any) -> None:
    """Check the configuration; print each value and where it came from, with keys masked."""
    for line in check_lines(_resolved(_merged(context, given))):
        print(line)


@app.command()
@_with_settings
def explain(
    context: typer.Context,
    file: Annotated[
        Path,
        typer.Argument(help="The body of a client's request; - reads it from standard input."),
    ],
    dialect: Annotated[str, typer.Option(help="The dialect of that request, such as openai-chat.")],
    operation: Annotated[
        str, typer.Option(help="What it asks for: messages, or count_tokens.")
    ] = "messages",
    model: Annotated[
        str | None,
        typer.Option(help="The model of a Gemini request, which names it in its path."),
    ] = None,
    **given: Any,
) -> None:
    """Print what would be sent upstream for a request, and what would be lost. Nothing is sent."""
    # A request can be translated without the key that it would be sent with.
    environ = {name: value for name, value in os.environ.items() if value}
    for row in BACKEND_TYPES.values():
        if row.key_variable and not key_variables(environ, row.key_variable):
            environ[row.key_variable] = UNSET_KEY
    config = _resolved(_merged(context, given), environ).config
    body = _input(file)
    from isthmus.errors import GatewayError
    from isthmus.explain import explained, frontend
    from isthmus.gateway import Gateway
    from isthmus.request import HttpRequest

    async def explanation() -> bytes | None:
        gateway = Gateway(config)
        asking = HttpRequest("POST", "", query, (), body)
        request = await gateway.decoded(frontend(asking), *explained(asking), caller="")
        return (await gateway.explain(request)).whole

    asked = {"dialect": dialect, "operation": operation, "model": model}
    query = urlencode({name: value for name, value in asked.items() if value is not None})
    try:
        whole = asyncio.run(explanation())
    except GatewayError as error:
        print(error.message, file=sys.stderr)
        raise typer.Exit(MISTAKE) from None
    typer.echo(whole, nl=False)  # as bytes: the body's own


@app.command()
def simulate(
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(help="The port; 0 takes a free one.", min=0, max=65535)
    ] = SIMULATOR_PORT,
    retired: Annotated[
        bool,
        typer.Option(
            "--retired/--no-retired", help="Answer for retired models too, or refuse them."
        ),
    ] = True,
) -> None:
    """Serve made-up answers in the shape of Anthropic's Messages API. No key, no network."""
    from isthmus.simulator import Options, Simulator

    async def forever() -> None:
        simulator = Simulator(Options(host=host, port=port, retired=retired))
        await simulator.start()
        try:
            # Only now: the address is ours, and port 0 has become a number.
            print("\n".join(simulator_lines(_url(host, simulator.port))), flush=True)
            await asyncio.Event().wait()
        finally:
            await simulator.stop()

    try:
        asyncio.run(forever())
    except KeyboardInterrupt:
        pass  # the usual way to end it
    except OSError as error:
        _end_unbound(error, host, (port,))


def _serve(given: Mapping[str, Any]) -> None:
    config = _resolved(given).config
    from isthmus import server, workers

    serve_all = server.run if config.workers == 1 else workers.run
    try:
        serve_all(config, partial(_print_banner, config))
    except KeyboardInterrupt:
        pass
    except ConfigErrors as errors:
        _end_wrong(errors)
    except workers.Failed as failed:
        print(failed, file=sys.stderr)
        raise typer.Exit(FAILED) from None
    except OSError as error:
        ports = [port for port in (config.port, config.anthropic_port) if port is not None]
        _end_unbound(error, config.host, ports)


def _merged(context: typer.Context, given: Mapping[str, Any]) -> dict[str, Any]:
    # `isthmus --port 9000 serve` means what `isthmus serve --port 9000` means.
    return {**context.obj, **{name: value for name, value in given.items() if value is not None}}


def _resolved(given: Mapping[str, Any], environ: Mapping[str, str] = os.environ) -> Resolved:
    try:
        return load(given.get("config"), environ, given)
    except ConfigErrors as errors:
        _end_wrong(errors)


def _end_wrong(errors: ConfigErrors) -> NoReturn:
    print(errors, file=sys.stderr)
    raise typer.Exit(MISTAKE) from None


def _input(file: Path) -> bytes:
    if str(file) == "-":
        return sys.stdin.buffer.read()
    try:
        return file.read_bytes()
    except OSError as error:
        print(f"{file}: cannot be read: {error.strerror or error}", file=sys.stderr)
        raise typer.Exit(MISTAKE) from None


def _end_unbound(error: OSError, host: str, ports: Sequence[int]) -> NoReturn:
    """End with a message where `error` tells why an address cannot be bound; else raise it."""
    # The server names the address that failed, which tells two ports apart.
    address = error.filename or " or ".join(_address(host, port) for port in ports)
    reasons = {
        errno.EADDRINUSE: f"{address} is already in use: end the other program, or choose another "
        "port (--port, --anthropic-port) or unix_socket",
        errno.EEXIST: f"{address} is there already, and is no socket",
        errno.ENOENT: f"there is no folder for {address}",
        errno.EACCES: f"no permission to listen on {address}: ports below 1024 need privileges",
        errno.EADDRNOTAVAIL: f"{host} is not an address of this machine",
        errno.EAFNOSUPPORT: f"this machine has no network of the kind that {host} belongs to",
    }
    reason = reasons.get(error.errno or 0)
    if isinstance(error, socket.gaierror):
        reason = f"the name {host} has no address"
    if reason is None:
        raise error
    print(reason, file=sys.stderr)
    raise typer.Exit(MISTAKE) from None


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _url(host: str, port: int, scheme: str = "http") -> str:
    # What listens everywhere is shown at an address that can be typed.
    return f"{scheme}://" + _address({"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), port)


def masked(secret: str) -> str:
    """A key as it may be shown: at most its last 4 characters, and those of a long one only."""
    if len(secret) < 20:
        return "****"
    return f"{'sk-ant-' if secret.startswith('sk-ant-') else ''}…{secret[-4:]}"


def _shown(value: object) -> str:
    if isinstance(value, SecretStr):
        return masked(value.get_secret_value())
    if isinstance(value, list):
        return f"[{', '.join(_shown(item) for item in value)}]"
    if isinstance(value, RewriteConfig):
        return f"{value.pattern} -> {value.replacement}"
    if isinstance(value, bool):
        return str(value).lower()
    return "null" if value is None else f"{value}"


def check_lines(resolved: Resolved) -> list[str]:
    """`key = value    # source` for each value, aligned."""
    rows = [
        (key, _shown(value), source)
        for (_, value), (key, source) in zip(
            leaves(resolved.config), resolved.sources.items(), strict=True
        )
    ]
    widest_key = max(len(key) for key, _, _ in rows)
    widest_value = min(44, max(len(value) for _, value, _ in rows))
    return [
        f"{key:{widest_key}} = {value:{widest_value}}  # {source}" for key, value, source in rows
    ]


def _print_banner(config: Config, ports: Mapping[str, int]) -> None:
    print("\n".join(banner_lines(config, ports)), flush=True)


def banner_lines(config: Config, ports: Mapping[str, int]) -> list[str]:
    """What `serve` says once it listens. `ports` maps "main" and maybe "anthropic" to numbers."""
    name = first_backend(config)
    backend = config.backends[name]
    socket_path = config.unix_socket if "main" not in ports else None
    scheme = "https" if config.tls.cert else "http"
    url = "http://localhost" if socket_path else _url(config.host, ports["main"], scheme)
    over = [f"  at the unix socket {socket_path}"] if socket_path else []
    reach = f"--unix-socket {shlex.quote(socket_path)} " if socket_path else ""
    anthropic = [f"{url}/anthropic", url]
    if "anthropic" in ports:
        anthropic.append(_url(config.host, ports["anthropic"], scheme))
    where = "made-up answers, no model" if backend.type == "simulator" else backend.base_url
    forced = [f"  every request is answered by {config.force_model}"] if config.force_model else []
    known = backend.models or [BACKEND_TYPES[backend.type].example_model]
    body = (
        f'{{"model": "{config.force_model or known[0]}", "max_tokens": 100, '
        '"messages": [{"role": "user", "content": "Hello"}]}'
    )
    json_headers = "-H 'content-type: application/json' -H 'anthropic-version: 2023-06-01'"
    key = " -H 'x-api-key: '\"$ISTHMUS_KEY\"" if config.auth.keys else ""
    # Claude Code asks for a login where it finds no key at all.
    login = 'AUTH_TOKEN="$ISTHMUS_KEY"' if config.auth.keys else "API_KEY=any"
    return [
        f"Isthmus {__version__} is serving.",
        f"  backend {name} (type {backend.type}) answers: {where}",
        *forced,
        *over,
        f"  Anthropic    {'  or  '.join(anthropic)}",
        f"  OpenAI       {url}/v1",
        f"  Gemini       {url}",
        f"  Claude Code  ANTHROPIC_BASE_URL={url} ANTHROPIC_{login} claude",
        "  Try it:",
        f"    curl {reach}{url}/v1/messages {json_headers}{key} -d '{body}'",
    ]


def simulator_lines(url: str) -> list[str]:
    """What `simulate` says: its address, and how to point a program at it."""
    return [
        f"The simulator answers at {url} with made-up text: no model, no key, no network.",
        f"  Claude Code    ANTHROPIC_BASE_URL={url} ANTHROPIC_API_KEY=any claude",
        f"  Anthropic SDK  ANTHROPIC_BASE_URL={url} ANTHROPIC_API_KEY=any python program.py",
        f"  Isthmus        backends.NAME: {{type: anthropic, api_key: any, base_url: {url}}}",
    ]


if __name__ == "__main__":
    main()
