"""A strict simulator of Anthropic's Messages API on a real socket, for tests of programs that speak it."""

from __future__ import annotations

from .options import Options, Received
from .server import Simulator, serve_forever

__all__ = ["Options", "Received", "Simulator", "serve_forever"]
