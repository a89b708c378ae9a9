"""The gateway as an ASGI 3 application, for other hosts than `serve`: `uvicorn isthmus.asgi:app`.

The configuration is the one that `serve` takes without flags: ISTHMUS_CONFIG or config.yaml, and the
environment. Importing this ends the process with its mistakes where it has any.
"""

from __future__ import annotations

import os

from isthmus.application import Application
from isthmus.config import ConfigErrors, load
from isthmus.gateway import Gateway
from isthmus.server import log_to_stderr


def _configured() -> Application:
    try:
        config = load(None, os.environ, {}).config
    except ConfigErrors as errors:
        raise SystemExit(str(errors)) from None
    log_to_stderr()
    return Application(Gateway(config))


app = _configured()
"""Speaks every dialect, as the main port of `serve` does. The host's lifespan events start it."""
