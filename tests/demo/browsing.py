"""A page in a real browser, as tests see it and act on it."""

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import pytest

T = TypeVar("T")
# Seconds; a machine may be busy.
PATIENCE = 60
# On the way from one point of a stroke to the next.
STEPS = 6
Points = Sequence[tuple[float, float]]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def chromium(profile: Path, *, size: tuple[int, int] = (1360, 1640)) -> Any:
    """A browser without a window; the test is skipped where there is none."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="for the browser")
    binary, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if binary is None or driver is None:
        pytest.skip("no chromium and chromedriver")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    flags = (
        "headless no-sandbox disable-gpu disable-quic no-first-run disable-background-networking"
        f" disable-component-update disable-sync disable-dev-shm-usage window-size={size[0]},{size[1]}"
    )
    for flag in flags.split():
        options.add_argument(f"--{flag}")
    options.add_argument(f"--user-data-dir={profile}")
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    opened = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    try:
        yield opened
    finally:
        opened.quit()


@contextmanager
def taught_at(teach_dir: Path, port: int) -> Any:
    """Serves the page of the packed model ``symbols`` by the console command."""
    command = [sys.executable, "-m", "grapheme_pyg", "demo", "symbols", "--port", str(port), "--no_open_browser"]
    root = str(Path(__file__).parents[2])
    environment = os.environ | {"PYTHONPATH": root, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [*command, "--teach_dir", str(teach_dir)], stdout=subprocess.PIPE, text=True, env=environment
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == f"Draw at http://127.0.0.1:{port}/ (Ctrl-C stops)\n"
        yield f"http://127.0.0.1:{port}"
        process.terminate()
        assert process.wait(timeout=PATIENCE) == 143
    finally:
        process.kill()
        process.communicate()


class Page:
    """What a person sees and does on a page.

    Elements are found anew whenever something is asked of them: answers replace parts of the page at any time.

    Args:
        browser: Selenium's.
        pointer: What strokes are drawn with, ``"mouse"`` or ``"touch"``.
    """

    def __init__(self, browser: Any, pointer: str = "mouse") -> None:
        self.browser, self.pointer = browser, pointer

    def run(self, script: str, *arguments: object) -> Any:
        """What a script returns, all of it at one moment of the page."""
        return self.browser.execute_script(script, *arguments)

    def until(self, condition: Callable[[], T]) -> T:
        """Waits until a condition holds on the page as it is then."""
        from selenium.common import exceptions as of_selenium
        from selenium.webdriver.support.wait import WebDriverWait

        passing = (
            of_selenium.NoSuchElementException,
            of_selenium.StaleElementReferenceException,
            of_selenium.ElementNotInteractableException,
            of_selenium.ElementClickInterceptedException,
        )
        return WebDriverWait(self.browser, PATIENCE, 0.05, passing).until(lambda _: condition())

    def text(self, selector: str) -> str:
        """The text that is shown there; empty if nothing is there."""
        return str(self.run("return document.querySelector(arguments[0])?.innerText.trim() ?? ''", selector))

    def texts(self, selector: str) -> list[str]:
        """The texts of all elements."""
        script = "return [...document.querySelectorAll(arguments[0])].map(each => each.innerText.trim())"
        return [str(text) for text in self.run(script, selector)]

    def count(self, selector: str) -> int:
        """How many elements there are."""
        return int(self.run("return document.querySelectorAll(arguments[0]).length", selector))

    def says(self, selector: str, text: str) -> None:
        """Waits for a text."""
        try:
            self.until(lambda: text in self.text(selector))
        except Exception as error:
            raise AssertionError(f"{selector}: expected {text!r}, got {self.text(selector)!r}") from error

    def click(self, selector: str) -> None:
        """Clicks on an element, or taps it."""

        def clicked() -> bool:
            self.browser.find_element("css selector", selector).click()
            return True

        self.until(clicked)

    def type(self, selector: str, text: str) -> None:
        """Writes a text in the place of what is in a field."""
        self.click(selector)
        self.write(text)

    def write(self, text: str) -> None:
        """Writes a text, of any script, in the place of what is in the field that has the focus."""
        self.run("document.activeElement.select()")
        self.browser.execute_cdp_cmd("Input.insertText", {"text": text})
        self.until(lambda: self.run("return document.activeElement.value") == text)

    def keys(self, *keys: str) -> None:
        """Presses keys, whatever has the focus."""
        from selenium.webdriver import ActionChains

        ActionChains(self.browser).send_keys(*keys).perform()

    def draw(self, points: Points) -> None:
        """Draws a stroke; points are in shares of the canvas's side, from its middle."""
        from selenium.webdriver.common.actions.action_builder import ActionBuilder
        from selenium.webdriver.common.actions.pointer_input import PointerInput

        left, top, side = self.run(
            "const canvas = document.querySelector('#pad canvas'); canvas.scrollIntoView({block: 'center'});"
            "const box = canvas.getBoundingClientRect(); return [box.left, box.top, box.width];"
        )

        def place(point: tuple[float, float]) -> tuple[int, int]:
            return round(left + side * (0.5 + point[0])), round(top + side * (0.5 + point[1]))

        actions = ActionBuilder(self.browser, mouse=PointerInput(self.pointer, "finger"), duration=10)
        actions.pointer_action.move_to_location(*place(points[0])).pointer_down()
        for (x, y), (to_x, to_y) in pairwise(points):
            for k in range(1, STEPS + 1):
                step = (x + (to_x - x) * k / STEPS, y + (to_y - y) * k / STEPS)
                actions.pointer_action.move_to_location(*place(step))
        actions.pointer_action.pointer_up()
        actions.perform()
        assert self.is_drawn()

    def is_drawn(self) -> bool:
        """Whether there is something on the canvas."""
        script = (
            "const canvas = document.querySelector('#pad canvas');"
            "return canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data.some(Boolean);"
        )
        return bool(self.run(script))
