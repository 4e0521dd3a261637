"""Guard decides which requests reach the page, and how large they may be."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

# Bytes of a request. Drawings are compressed and take a few thousand.
MAX_BODY = 2**22


class Guard:
    """Passes on requests that come from the page itself, and refuses all others.

    Other pages in the browser can send requests to this machine too. They can even read the answers if their name is
    made to resolve to this machine (DNS rebinding). Such a request has another ``Host``, or the ``Origin`` of its page,
    and gets status 403. A request gets 413 if its body has more than 2²² bytes or does not state its length.

    Args:
        app: The page to protect.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on, or refuses it."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        port = scope["server"][1]
        own = (f"127.0.0.1:{port}", f"localhost:{port}")
        headers = Headers(scope=scope)
        host, origin = headers.get("host"), headers.get("origin")
        if host not in own or origin not in (None, *(f"http://{name}" for name in own)):
            refusal = PlainTextResponse("expected a request of the page itself", status_code=403)
            await refusal(scope, receive, send)
            return
        if "transfer-encoding" in headers or int(headers.get("content-length", 0)) > MAX_BODY:
            refusal = PlainTextResponse(f"expected at most {MAX_BODY:,} bytes, and their number", status_code=413)
            await refusal(scope, receive, send)
            return
        await self.app(scope, receive, send)


@asynccontextmanager
async def guarding(app: FastAPI) -> AsyncIterator[None]:
    """Puts the guard in front of the whole app when it starts, including Gradio's answers to other origins."""
    assert app.middleware_stack is not None
    app.middleware_stack = Guard(app.middleware_stack)
    yield
