import asyncio
from importlib.util import find_spec

import pytest

pytestmark = pytest.mark.skipif(find_spec("gradio") is None, reason="an extra")
# As in grapheme_pyg.demo.guard, which imports Gradio: that takes seconds, in one process instead of all.
MAX_BODY = 2**22


def asked(headers: dict[str, str], content: object = b"") -> int:
    """The status of the answer to a request at port 7860, behind which everything is answered."""
    import httpx

    from grapheme_pyg.demo.guard import Guard

    async def page(scope: object, receive: object, send: object) -> None:
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body"})

    async def ask() -> int:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(Guard(page))) as client:
            return (await client.post("http://127.0.0.1:7860/", headers=headers, content=content)).status_code

    return asyncio.run(ask())


@pytest.mark.parametrize("host", ["127.0.0.1:7860", "localhost:7860"])
def test_the_page_itself_is_answered(host: str) -> None:
    assert asked({"Host": host}) == 200
    assert asked({"Host": host, "Origin": f"http://{host}"}, bytes(MAX_BODY)) == 200


@pytest.mark.parametrize("host", ["evil.example:7860", "127.0.0.1", "127.0.0.1:1", "127.0.0.1:7860.evil.example", ""])
def test_another_host_is_refused(host: str) -> None:
    """DNS rebinding: another page's name is made to mean this machine."""
    assert asked({"Host": host}) == 403
    assert asked({"Host": host, "Origin": f"http://{host}"}) == 403


@pytest.mark.parametrize("origin", ["http://evil.example", "https://127.0.0.1:7860", "http://127.0.0.1:1", "null", ""])
def test_another_origin_is_refused(origin: str) -> None:
    assert asked({"Host": "127.0.0.1:7860", "Origin": origin}) == 403


def test_a_large_request_is_refused() -> None:
    from grapheme_pyg.demo import guard

    assert guard.MAX_BODY == MAX_BODY

    async def pieces() -> object:
        yield b"a"

    assert asked({"Host": "127.0.0.1:7860"}, bytes(MAX_BODY + 1)) == 413
    assert asked({"Host": "127.0.0.1:7860"}, pieces()) == 413
