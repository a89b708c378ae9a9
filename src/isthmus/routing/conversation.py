"""What tells a conversation from others, so that it can stay where its prompt is cached."""

from __future__ import annotations

from hashlib import blake2b

from isthmus.request import Request

SESSION = "x-claude-code-session-id"
ROOT_BYTES = 16 * 1024
"""How much of a conversation's first message tells it from others."""
CACHED = b'"cache_control"'


class Conversation:
    """The conversation that a request belongs to, looked at only where there is a choice."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._found: tuple[bytes, bool] | None = None

    @property
    def root(self) -> bytes:
        """What stays the same from turn to turn, of the same caller: its session, else its first message."""
        return self._look()[0]

    @property
    def goes_on(self) -> bool:
        """Whether earlier requests of it may have left something at a provider: a cache, reasoning."""
        return self._look()[1]

    def _look(self) -> tuple[bytes, bool]:
        if self._found is None:
            request = self._request
            session = next((value for name, value in request.headers if name == SESSION), None)
            if session:
                said, goes_on = session.encode(), True
            else:
                first, count = request.body.opening("messages")
                said, goes_on = first[:ROOT_BYTES], count > 1 or request.body.mentions(CACHED)
            whose = blake2b(request.caller.encode(), digest_size=16).digest()
            self._found = blake2b(said, key=whose, digest_size=16).digest(), goes_on
        return self._found

    def choice(self, text: str) -> bytes:
        """The root of what this conversation was given of a weighted choice in a selector."""
        return blake2b(text.encode(), key=self.root, digest_size=16).digest()
