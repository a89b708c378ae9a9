"""Where a request goes: the selector that a client puts in ``model``, and what it may say."""
