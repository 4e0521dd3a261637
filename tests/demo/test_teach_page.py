"""Classes taught on the page of the packed encoder, in a browser, from the first stroke to the end."""

import math
import os
from collections.abc import Iterator
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path

import pytest
from browsing import Page, Points, chromium, free_port, taught_at
from PIL import Image

# Gradio is imported by the process that serves the page.
pytestmark = [pytest.mark.slow, pytest.mark.skipif(find_spec("gradio") is None, reason="an extra")]
TRIANGLE = ((0.0, -0.3), (0.3, 0.28), (-0.3, 0.26), (0.0, -0.3))
CROSS = ((-0.3, -0.3), (0.3, 0.3), (0.0, 0.0), (0.3, -0.3), (-0.3, 0.3))
SPIRAL = tuple((0.08 * t / 2 * math.cos(t), 0.08 * t / 2 * math.sin(t)) for t in [k / 2 for k in range(1, 17)])
# Width and height of a telephone.
NARROW = (375, 812)


def varied(points: Points, by: int) -> Points:
    """The same shape as drawn another time."""
    return [(0.9 * x + 0.02 * by * (k % 2), y - 0.02 * by * (k % 3)) for k, (x, y) in enumerate(points)]


@pytest.fixture(scope="module")
def taught_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("taught")


@pytest.fixture(scope="module")
def address(taught_dir: Path) -> Iterator[str]:
    with taught_at(taught_dir, free_port()) as address:
        yield address


@pytest.fixture
def page(address: str, tmp_path: Path) -> Iterator[Page]:
    with chromium(tmp_path / "profile", size=(1280, 1400)) as browser:
        page = Page(browser)
        opened(page, address)
        yield page
        # Errors of the page's scripts; requests that the server has refused are among them.
        assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []


def opened(page: Page, address: str) -> None:
    page.browser.get(address)
    page.click("button[role=tab][aria-controls]")
    page.until(lambda: page.count("#pad canvas") == 1)
    page.says("#classes", "No classes yet.")


def teach(page: Page, name: str, points: Points, drawings: int) -> None:
    """Teaches drawings of a class, which has none yet."""
    page.type("#class-name :is(input, textarea)", name)
    for number in range(1, drawings + 1):
        page.draw(varied(points, number - 1))
        page.click("#teach")
        page.says("#taught", f"Taught {name}: {number} drawing{'s' if number > 1 else ''}")
        page.until(lambda: not page.is_drawn())
    page.until(lambda: page.count(f'#classes form[data-name="{name}"]') == 1)


def test_from_the_first_stroke_to_the_end(page: Page, address: str, taught_dir: Path) -> None:
    teach(page, "triangle", TRIANGLE, 3)
    assert page.texts("#classes h3") == ["triangle"]
    assert page.count("#classes .drawings img") == 3
    teach(page, "ñandú 心", CROSS, 3)
    assert page.texts("#classes h3") == ["triangle", "ñandú 心"]

    page.draw(varied(TRIANGLE, 4))
    page.says("#recognised .label", "triangle")
    nearest = page.texts("#recognised .drawings li span")
    assert nearest[:3] == ["triangle"] * 3
    assert len(nearest) == 5
    assert page.count("#recognised .drawings img") == 5
    page.click("#pad .clear")
    page.until(lambda: page.text("#recognised") == "")
    page.draw(SPIRAL)
    page.says("#recognised .label", "Not recognised")

    page.type('#classes form[data-name="triangle"] input', "Dreieck")
    page.click('#classes form[data-name="triangle"] button')
    page.says("#changed", "Renamed triangle to Dreieck.")
    assert page.texts("#classes h3") == ["Dreieck", "ñandú 心"]
    page.type("#folder input", "shapes é")
    page.click("#save")
    page.says("#filed", f"Saved in {taught_dir / 'shapes é'}.")
    page.click('[data-delete="Dreieck"]')
    page.says("#changed", "Deleted Dreieck. Undo brings it back.")
    assert page.texts("#classes h3") == ["ñandú 心"]
    page.click("#undo")
    page.says("#changed", "Undone: Deleted Dreieck.")
    assert page.texts("#classes h3") == ["Dreieck", "ñandú 心"]
    assert page.count("#classes .drawings img") == 6
    page.click("#pad .clear")
    page.draw(varied(TRIANGLE, 4))
    page.says("#recognised .label", "Dreieck")
    page.click("#undo")
    page.says("#changed", "Undone: Renamed triangle to Dreieck.")
    assert page.texts("#classes h3") == ["triangle", "ñandú 心"]
    page.click("#undo")
    page.says("#changed", "Undone: Taught ñandú 心: 3 drawings.")
    assert page.count("#classes .drawings img") == 5

    # A page that is loaded anew knows nothing until the file is opened.
    opened(page, address)
    page.type("#folder input", "shapes é")
    page.click("#open")
    page.says("#filed", f"Opened {taught_dir / 'shapes é'}.")
    page.until(lambda: page.texts("#classes h3") == ["Dreieck", "ñandú 心"])
    assert page.count("#classes .drawings img") == 6
    page.draw(varied(CROSS, 4))
    page.says("#recognised .label", "ñandú 心")
    page.browser.execute_script("scrollTo(0, 0)")
    keep_picture(page, "teach.png")
    page.click("#undo")
    page.says("#changed", f"Undone: Opened {taught_dir / 'shapes é'}.")
    assert page.text("#classes") == "No classes yet."
    page.click("#undo")
    page.says("#changed", "There is nothing to undo.")


def controls(page: Page) -> list[dict[str, str]]:
    """Role and name of whatever can have the focus, as the browser tells screen readers."""
    nodes = page.browser.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    found = []
    for node in nodes:
        states = {state["name"]: state["value"].get("value") for state in node.get("properties", [])}
        role = node.get("role", {}).get("value")
        if not node["ignored"] and role != "RootWebArea" and states.get("focusable"):
            found.append({"role": role, "name": node.get("name", {}).get("value", "")})
    return found


def test_by_the_keyboard_alone(page: Page) -> None:
    from selenium.webdriver import Keys

    def focused(selector: str) -> bool:
        return bool(page.run("return document.activeElement.matches(arguments[0])", selector))

    def go_to(selector: str) -> None:
        for _ in range(60):
            if focused(selector):
                # What has the focus can be seen to have it.
                assert page.run("return getComputedStyle(document.activeElement).outlineStyle !== 'none'"), selector
                return
            page.keys(Keys.TAB)
        raise AssertionError(f"{selector}: expected to come to it by Tab")

    def hook(by: int) -> None:
        """Draws an L."""
        page.keys(Keys.ARROW_LEFT * (5 + by), Keys.ARROW_UP * 9, " ")
        page.until(lambda: page.text(".pen-state") == "Pen is down.")
        page.keys(Keys.SHIFT, Keys.ARROW_DOWN * 6, Keys.SHIFT, Keys.ARROW_RIGHT * (10 + 2 * by), " ")
        page.until(lambda: page.text(".pen-state") == "Pen is up.")
        assert page.is_drawn()

    go_to("#pad canvas")
    hook(0)
    go_to("#class-name input")
    page.write("L")
    page.keys(Keys.ENTER)
    for number in (1, 2):
        page.says("#taught", f"Taught L: {number} drawing")
        page.until(lambda: focused("#pad canvas") and not page.is_drawn())
        hook(number)
        go_to("#teach")
        page.keys(" ")
    page.says("#taught", "Taught L: 3 drawings.")
    page.until(lambda: focused("#pad canvas") and not page.is_drawn())
    hook(3)
    page.says("#recognised .label", "L")
    page.keys(Keys.DELETE)
    page.until(lambda: page.text("#recognised") == "")
    go_to('[data-name="L"] input')
    page.write("corner")
    page.keys(Keys.ENTER)
    page.until(lambda: page.texts("#classes h3") == ["corner"])
    go_to("#folder input")
    page.write("by keys")
    page.keys(Keys.ENTER)
    go_to("#save")
    page.keys(Keys.ENTER)
    page.says("#filed", "Saved in")
    go_to("[data-delete]")
    page.keys(Keys.ENTER)
    page.says("#classes", "No classes yet.")
    page.says("#changed", "Deleted corner. Undo brings it back.")
    # The button is gone, and the focus is where the deletion can be undone.
    page.until(lambda: focused("#undo"))
    page.keys(Keys.ENTER)
    page.until(lambda: page.texts("#classes h3") == ["corner"])
    assert page.count("#classes .drawings img") == 3
    assert focused("#undo")
    go_to("[data-delete]")
    page.keys(Keys.ENTER)
    page.says("#classes", "No classes yet.")
    go_to("#open")
    page.keys(Keys.ENTER)
    page.until(lambda: page.texts("#classes h3") == ["corner"])


def test_on_a_telephone(page: Page, address: str) -> None:
    width, height = NARROW
    for command, options in (
        ("setDeviceMetricsOverride", {"width": width, "height": height, "deviceScaleFactor": 2, "mobile": True}),
        ("setTouchEmulationEnabled", {"enabled": True, "maxTouchPoints": 5}),
    ):
        page.browser.execute_cdp_cmd(f"Emulation.{command}", options)
    page.pointer = "touch"
    opened(page, address)
    long = "Donaudampfschifffahrtsgesellschaft" * 2 + " 👩‍👩‍👧"
    teach(page, long, TRIANGLE, 3)
    teach(page, "صليب", CROSS, 1)
    page.draw(varied(TRIANGLE, 4))
    page.says("#recognised .label", long)
    keep_picture(page, "telephone.png")
    assert page.run("return document.documentElement.scrollWidth") == width
    small = page.run(
        "return [...document.querySelectorAll('#teaching :is(button, input, canvas)')].map(each => {"
        "  const box = (each.closest('label') ?? each).getBoundingClientRect();"
        "  return [each.outerHTML.slice(0, 100), box.left, box.right, Math.min(box.width, box.height)];"
        "}).filter(([, left, right, side]) => left < 0 || right > innerWidth || side < 44)"
    )
    assert small == []
    assert page.run("return [...document.querySelectorAll('#teaching img')].every(each => each.alt)")
    named = controls(page)
    assert [one for one in named if not one["name"]] == []
    for name in ("Drawing", "Name of the class", "Name of the model", f"New name of {long}", f"Delete {long}", "Undo"):
        assert name in [one["name"] for one in named]
    # A finger that draws does not scroll.
    assert page.run("return getComputedStyle(document.querySelector('#pad canvas')).touchAction") == "none"


def keep_picture(page: Page, name: str) -> None:
    """The folder, if one is named, keeps what was seen."""
    if folder := os.environ.get("GRAPHEME_SCREENSHOTS"):
        seen = Image.open(BytesIO(page.browser.get_screenshot_as_png())).convert("RGB")
        seen.quantize(256, dither=Image.Dither.NONE).save(Path(folder) / name, optimize=True)
