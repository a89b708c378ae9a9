"""Isthmus, an LLM gateway: any client speaks its own dialect, Claude or any model answers."""

__version__ = "0.1.0"
