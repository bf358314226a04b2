"""ASGI middleware around the page: whom it answers, and how it refuses."""

import asyncio
import contextlib
from collections.abc import Callable

LINGER = 30.0  # seconds that a refused body may take to its end, as nginx's `lingering_time`
# The browser itself then refuses what the page must not do: other hosts, frames, plug-ins.
POLICY = (
    "default-src 'self' data: blob: 'unsafe-inline' 'unsafe-eval'; object-src 'none'; base-uri 'self'; "
    "form-action 'self'; frame-ancestors "
)
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


class SameOrigin:
    """Refuses requests that another site's page sent, and ones under a name that is not ours.

    A foreign page may post forms and files to 127.0.0.1 without asking; a foreign name may lead there, too.
    """

    def __init__(self, app: Callable, hosts: tuple[str, ...] | None, frames: str = "'none'"):
        self.app, self.hosts = app, hosts
        self.headers = {**HEADERS, "Content-Security-Policy": POLICY + frames}

    async def __call__(self, scope: dict, receive: Callable, send: Callable) -> None:
        if scope["type"] not in ("http", "websocket"):
            return await self.app(scope, receive, send)
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        host, origin = headers.get("host", ""), headers.get("origin")
        foreign = origin is not None and origin.partition("://")[2] != host
        if foreign or (self.hosts is not None and _name(host) not in self.hosts):
            await send({"type": "http.response.start", "status": 403, "headers": [(b"content-type", b"text/plain")]})
            return await send({"type": "http.response.body", "body": b"This page answers itself alone."})

        async def guarded(message):
            if message["type"] == "http.response.start":
                extra = [(name.lower().encode(), value.encode()) for name, value in self.headers.items()]
                message = {**message, "headers": [*message.get("headers", []), *extra]}
            await send(message)

        await self.app(scope, receive, guarded)


def _name(host: str) -> str:
    """Host without port: "[::1]:7860" → "::1"."""
    return host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]


class ReadBeforeRefusing:
    """Takes the body of a refused request to its end, and throws it away, before the refusal is sent.

    A server that refuses early and hangs up resets the connection: whoever is still sending a large file then sees a
    network error, and never the answer that says why. Clients that announce a body first ("Expect: 100-continue") wait
    for the answer, so nothing is asked of them.
    """

    def __init__(self, app: Callable):
        self.app = app

    async def __call__(self, scope: dict, receive: Callable, send: Callable) -> None:
        if scope["type"] != "http" or any(name == b"expect" for name, _ in scope["headers"]):
            return await self.app(scope, receive, send)
        unread = True

        async def reading():
            nonlocal unread
            message = await receive()
            unread = message.get("more_body", False)  # none after a disconnection
            return message

        async def to_the_end():
            while unread:
                await reading()

        async def answering(message):
            if message["type"] == "http.response.start" and message["status"] >= 400:
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(to_the_end(), LINGER)
            await send(message)

        await self.app(scope, reading, answering)
