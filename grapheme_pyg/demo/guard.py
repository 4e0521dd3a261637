"""Who may ask the page, and for how much."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

# Bytes of a request: drawings, which are compressed, take a few thousand.
MAX_BODY = 2**22


class Guard:
    """Passes on the requests of the page itself.

    Other pages in the browser can send requests to this machine too, and read the answers if their name is made to mean
    this machine (DNS rebinding). Such a request has another ``Host``, or the ``Origin`` of its page: it gets 403. A
    request of more than 2²² bytes, or that does not say of how many, gets 413.

    Args:
        app: The page.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request."""
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
    """A lifespan in which the guard stands before all else, Gradio's answers to other origins included."""
    assert app.middleware_stack is not None
    app.middleware_stack = Guard(app.middleware_stack)
    yield
