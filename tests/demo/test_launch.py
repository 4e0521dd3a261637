"""The page, in a browser that draws on it."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import pytest
import torch
from browsing import chromium, free_port
from PIL import Image, ImageChops

from grapheme_pyg import ImageClassificationModel, TrainingSettings, fit
from grapheme_pyg.cli import main
from grapheme_pyg.datasets import Split

# Gradio is imported by the tests themselves: that takes seconds, in one process instead of all.
pytestmark = pytest.mark.skipif(find_spec("gradio") is None, reason="an extra")
T = TypeVar("T")
# What is started from a shell's background job ignores Ctrl-C unless told otherwise.
SERVE = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler);"
    " from pathlib import Path; from grapheme_pyg.demo import launch; "
)
# Chromium's own pages, and what a page makes itself.
INNER = ("chrome", "data:", "blob:", "about:")
# Of a 7, from the middle of the canvas, in pixels.
STROKE = ((-80, -105), (80, -105), (-10, 115))


def start(folder: Path, port: int, **more: str) -> "subprocess.Popen[str]":
    command = f"{SERVE}launch(Path({str(folder)!r}), port={port}, open_browser=False)"
    root = str(Path(__file__).parents[2])
    environment = os.environ | {"PYTHONPATH": root, "OMP_NUM_THREADS": "1"} | more
    return subprocess.Popen(
        [sys.executable, "-c", command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    )


def wait(found: Callable[[], T], seconds: float = 60) -> T:
    end = time.monotonic() + seconds
    while not (result := found()):
        assert time.monotonic() < end, f"nothing came within {seconds} seconds"
        time.sleep(0.2)
    return result


def test_broken_models_and_ports(tmp_path: Path) -> None:
    from grapheme_pyg.demo import launch

    with pytest.raises(FileNotFoundError, match=r"config\.json"):
        launch(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(FileNotFoundError, match=r"model\.safetensors"):
        launch(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(ValueError, match="format: expected"):
        launch(tmp_path)
    with pytest.raises(ValueError, match="port: expected a number in 1…65535, got 0"):
        launch(tmp_path, port=0)


def test_occupied_ports(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        # Without a model it is that of the package.
        for model in ([], [str(tmp_path)]):
            assert main(["demo", *model, "--port", str(port), "--no_open_browser"]) == 1
            out, err = capsys.readouterr()
            assert out == ""
            assert re.fullmatch(rf"grapheme demo: port: expected a free one, got {port} \(.+\)\n", err)
    # Once it is free again, what is wrong is the folder.
    assert main(["demo", str(tmp_path), "--port", str(port)]) == 1
    assert "config.json" in capsys.readouterr().err


@pytest.fixture(scope="module")
def served(digits: tuple[Split, Split], tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a page whose model has learned a few digits; it ends by Ctrl-C, well."""
    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)  # The fixture that seeds each test comes after those of a module.
    model = ImageClassificationModel.from_preset("small")
    images, labels = digits[0]
    fit(model, images[:4000], labels[:4000], settings=TrainingSettings(epochs=6, batch_size=64), verbose=False)
    model.save_pretrained(folder)
    port = free_port()
    process = start(folder, port)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == f"Draw at http://127.0.0.1:{port}/ (Ctrl-C stops)\n"
        yield port
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 0
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Any]:
    with chromium(tmp_path / "profile") as opened:
        yield opened


def draw(browser: Any) -> None:
    """Draws a 7 with the mouse, as soon as the page has its brush."""
    from selenium.webdriver import ActionChains

    wait(lambda: browser.find_elements("css selector", '#drawing button[aria-label="Brush"].highlight'))
    canvas = browser.find_element("css selector", "#drawing canvas")
    actions = ActionChains(browser, duration=60)
    actions.move_to_element_with_offset(canvas, *STROKE[0]).click_and_hold()
    for (x, y), (to_x, to_y) in pairwise(STROKE):
        for k in range(1, 7):
            actions.move_to_element_with_offset(canvas, x + (to_x - x) * k // 6, y + (to_y - y) * k // 6)
    actions.release().perform()


@pytest.mark.slow
def test_a_drawn_seven_is_read(served: int, browser: Any, tmp_path: Path) -> None:
    browser.get(f"http://127.0.0.1:{served}")
    draw(browser)
    read = wait(
        lambda: [e.text for e in browser.find_elements("css selector", '#answer [data-testid="label-output-value"]')]
    )
    assert read == ["7"]
    for name in ("graph", "reasons", "templates", "levels"):
        picture = wait(lambda name=name: browser.find_elements("css selector", f"#{name} img"))[0]
        wait(lambda picture=picture: picture.get_property("naturalWidth"))
    # The folder, if one is named, keeps what was seen, for docs/demo.md.
    seen = Image.open(BytesIO(browser.get_screenshot_as_png())).convert("RGB")
    shrunk = seen.quantize(256, method=Image.Quantize.MAXCOVERAGE, kmeans=5, dither=Image.Dither.NONE)
    # A quarter of the size. The median cut, which is the default, would spend the palette on common colours, and make
    # red brown.
    assert all(most < 32 for _, most in ImageChops.difference(seen, shrunk.convert("RGB")).getextrema())
    folder = Path(os.environ.get("GRAPHEME_SCREENSHOTS", tmp_path))
    shrunk.save(folder / "demo.png", optimize=True)

    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]
    outside = [url for url in asked if not url.startswith((f"http://127.0.0.1:{served}/", *INNER))]
    assert len(asked) > 5
    assert outside == []

    # An empty page has no answer, and the brush is there again.
    browser.find_element("css selector", '#drawing button[aria-label="Clear canvas"]').click()
    wait(lambda: not browser.find_elements("css selector", "#graph img"))
    draw(browser)
    wait(lambda: browser.find_elements("css selector", "#graph img"))


@pytest.mark.slow
def test_only_this_machine_is_served(served: int) -> None:
    with socket.create_connection(("127.0.0.1", served), timeout=5):
        pass
    # The whole of 127/8 is this machine, but the page is bound to one address of it.
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", served), timeout=5)


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, Path]]:
    """A client of a page whose model has learned nothing, and where its process keeps files: SIGTERM leaves none."""
    import httpx

    folder = tmp_path_factory.mktemp("model")
    ImageClassificationModel.from_preset("tiny").save_pretrained(folder / "model")
    port, kept = free_port(), folder / "temporary"
    kept.mkdir()
    process = start(folder / "model", port, TMPDIR=str(kept))
    try:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("Draw at ")
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            yield client, kept
        process.terminate()
        assert process.wait(timeout=30) == 143
        assert [path for path in kept.rglob("*") if path.is_file()] == []
    finally:
        process.kill()
        process.communicate()


def png(width: int, height: int) -> bytes:
    image = Image.new("RGBA", (width, height))
    image.paste("black", (width // 3, 0, width // 2, height))
    image.save(file := BytesIO(), "PNG")
    return file.getvalue()


def answer(client: Any, content: bytes, layers: int) -> str:
    """The events by which the page answers a drawing of layers that are all the same."""
    path = client.post("/gradio_api/upload", files={"files": ("a.png", content)}).raise_for_status().json()[0]
    layer = {"path": path, "meta": {"_type": "gradio.FileData"}}
    drawing = {"background": None, "layers": [layer] * layers, "composite": None, "id": None}
    event = client.post("/gradio_api/call/answer", json={"data": [drawing]}).raise_for_status().json()["event_id"]
    return client.get(f"/gradio_api/call/answer/{event}").text


@pytest.mark.slow
class TestRequests:
    """The page answers itself, and drawings of the size of its own."""

    @pytest.mark.parametrize("path", ["/", "/config", "/gradio_api/info", "/gradio_api/heartbeat/a"])
    def test_other_hosts_and_origins_are_refused(self, asked: tuple[Any, Path], path: str) -> None:
        client, _ = asked
        port = client.base_url.port
        for headers in (
            {"Host": f"evil.example:{port}"},
            {"Host": f"evil.example:{port}", "Origin": f"http://evil.example:{port}"},
            {"Host": "127.0.0.1"},
            {"Origin": "http://evil.example"},
            {"Origin": "null"},
            {"Origin": f"http://127.0.0.1:{port + 1}"},
            {"Origin": f"https://127.0.0.1:{port}"},
        ):
            for method in ("GET", "POST", "OPTIONS"):
                preflight = {"Access-Control-Request-Method": "POST"} if method == "OPTIONS" else {}
                refused = client.request(method, path, headers=headers | preflight)
                assert refused.status_code == 403
                assert not any(name.startswith("access-control") for name in refused.headers)
        own = {"Host": f"localhost:{port}", "Origin": f"http://localhost:{port}"}
        assert client.get("/config", headers=own).status_code == 200

    def test_drawings_and_what_is_no_drawing(self, asked: tuple[Any, Path]) -> None:
        client, _ = asked
        small, large = png(36, 36), png(1_100, 1_000)
        assert "event: complete" in answer(client, small, 1)
        for content, layers, expected in (
            (small, 1_000, "expected at most 8 layers, got 1000"),
            (large, 1, "expected at most 1,048,576 pixels (max_pixels), got 1100 by 1000"),
            (b"no picture", 1, "expected an image, got 10 bytes of none of BMP"),
        ):
            answered = answer(client, content, layers)
            assert "event: error" in answered
            assert expected in json.loads(answered.split("data: ")[1])["error"]

    def test_large_requests_leave_nothing(self, asked: tuple[Any, Path]) -> None:
        client, kept = asked
        before = sorted(kept.rglob("*"))
        too_much = bytes(2**22 + 1)
        assert client.post("/gradio_api/upload", files={"files": ("a.png", too_much)}).status_code == 413
        assert client.post("/gradio_api/call/answer", content=too_much).status_code == 413
        assert client.post("/gradio_api/upload", content=iter([b"a"])).status_code == 413
        assert sorted(kept.rglob("*")) == before
