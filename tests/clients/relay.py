"""A relay between a client and the gateway that notes what passes, contents removed."""

from __future__ import annotations

import http.client
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

SECONDS = 60
SHOWN_HEADERS = (
    *("accept", "accept-encoding", "content-type", "anthropic-version", "anthropic-beta"),
    *("anthropic-dangerous-direct-browser-access", "user-agent", "x-app", "x-stainless-lang"),
)
"""Headers whose values tell nothing of the person or the machine."""
HOPS = {"connection", "transfer-encoding", "keep-alive", "content-length"}
SHOWN_MEMBERS = {
    *("type", "role", "model", "max_tokens", "stream", "budget_tokens", "display", "effort"),
    *("ttl", "scope", "keep", "defer_loading", "temperature", "is_error"),
    *("topP", "topK", "responseMimeType", "thinkingLevel", "mode", "name"),
}


@dataclass
class Exchange:
    """One request and its answer, without their contents."""

    request: str
    headers: dict[str, str]
    shape: dict[str, Any] | None
    status: int = 0
    answer: dict[str, str] = field(default_factory=dict[str, str])


class Relay:
    """Listens on a port of its own and passes everything on to ``port``."""

    def __init__(self, port: int) -> None:
        self.exchanges: list[Exchange] = []
        relay = self

        class Handler(BaseHTTPRequestHandler):
            def handle_one_request(self) -> None:
                self.raw_requestline = self.rfile.readline(65537)
                if not self.raw_requestline or not self.parse_request():
                    self.close_connection = True
                    return
                relay.pass_on(self, port)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(SECONDS)

    def pass_on(self, handler: BaseHTTPRequestHandler, port: int) -> None:
        """One request on a connection of its own; the answer as it comes, until it ends."""
        body = handler.rfile.read(int(handler.headers.get("content-length") or 0))
        sent = list(handler.headers.items())
        exchange = Exchange(f"{handler.command} {handler.path}", shown(sent), shape_of(body))
        self.exchanges.append(exchange)
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
        try:
            headers = {name: value for name, value in sent if name.lower() not in HOPS}
            connection.request(handler.command, handler.path, body or None, headers)
            answer = connection.getresponse()
            exchange.status = answer.status
            exchange.answer = {name.lower(): value for name, value in answer.getheaders()}
            handler.send_response_only(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in HOPS:
                    handler.send_header(name, value)
            handler.send_header("connection", "close")
            handler.end_headers()
            while data := answer.read1(65536):
                handler.wfile.write(data)
        except OSError:
            pass  # the client or the gateway left: the test sees that for itself
        finally:
            connection.close()
            handler.close_connection = True


def shown(headers: list[tuple[str, str]]) -> dict[str, str]:
    """Header names in their order, with the values that may be shown."""
    return {
        name.lower(): value if name.lower() in SHOWN_HEADERS else "..." for name, value in headers
    }


def shape_of(body: bytes) -> dict[str, Any] | None:
    """The members of a JSON body, every text taken out."""
    if not body:
        return None
    return {name: _member(name, value) for name, value in json.loads(body).items()}


def _member(name: str, value: Any) -> Any:
    if name == "tools":
        return [text for tool in value for text in _offered(tool)]
    if name == "parts":
        return [" + ".join(part) for part in value]
    if name in ("content", "system") and isinstance(value, list):
        return [_block(block) for block in value]
    if name in SHOWN_MEMBERS or isinstance(value, bool | None):
        return value
    if isinstance(value, dict):
        return {key: _member(key, item) for key, item in value.items()}
    if isinstance(value, list):
        return [_member("", item) for item in value]
    return "text" if isinstance(value, str) else "number"


def _offered(tool: dict[str, Any]) -> list[str]:
    """A tool by its name, or what one of Gemini's consists of: functions, and Google's own tools."""
    if "name" in tool or "type" in tool:
        return [_tool(tool)]
    functions = [function["name"] for function in tool.get("functionDeclarations", ())]
    return [*functions, *(name for name in tool if name != "functionDeclarations")]


def _tool(tool: dict[str, Any]) -> str:
    """A tool's name, and its members beside the usual three."""
    more = [name for name in tool if name not in ("name", "description", "input_schema")]
    return " + ".join([tool.get("name") or tool["type"], *more])


def _block(block: dict[str, Any]) -> str:
    """A content block's type, and the members that do not carry its content."""
    marker = block.get("cache_control")
    return (
        f"{block['type']} + cache_control {' '.join(marker.values())}" if marker else block["type"]
    )
