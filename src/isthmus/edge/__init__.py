"""The server's edge: HTTP/1.1 on sockets for an ASGI application, with limits and deadlines."""
