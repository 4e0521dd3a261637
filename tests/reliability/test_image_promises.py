"""Images from strangers harm nothing: broken and odd ones, bombs, and what large ones cost."""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from resource import RUSAGE_SELF, getrusage

import numpy as np
import odd_images
import pytest
import torch
from cases import SEEDS, Call, call, cases
from hypothesis import given
from PIL import Image

from grapheme_pyg import VisionBrain
from grapheme_pyg.datasets import image_reading, mnist_style, read_image
from grapheme_pyg.datasets.image_reading import read_header
from grapheme_pyg.errors import ImageError, ImageWarning
from grapheme_pyg.testing import check_graph

BRAINS = ("grid", "blob", "superpixel", "hybrid")
# Up to so many pixels a second and so many MiB are enough, and fewer for an error; above, it grows with the pixels.
PIXELS, SECONDS, MOST, MOST_OF_ERROR = 256 * 256, 1.0, 96.0, 24.0
# How many times as much a pixel of a large image may take as one of 256².
GROWTH = 2.0


@cache
def brain(mode: str, in_channels: int) -> VisionBrain:
    """A brain that has seen an image, so that what is imported on first use is."""
    made = VisionBrain(mode, in_channels=in_channels)
    made(np.zeros((40, 40), np.uint8))
    return made


def brain_of(seed: int) -> VisionBrain:
    return brain(BRAINS[seed % 4], (1, 3)[seed // 4 % 2])


@contextmanager
def strict_warnings() -> Iterator[None]:
    """Only the library itself may warn, of levels that are probably not meant."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", ImageWarning)
        yield


def check(made: Call, name: str, used: VisionBrain) -> None:
    """Requires a valid graph, or one clear error that begins with a name; and that neither took too much."""
    times = 1.0
    if made.error is not None:
        text = str(made.error)
        assert type(made.error) is ImageError, f"raised {type(made.error).__name__}: {text}"
        assert text.startswith(f"{name}: expected "), f"unclear message {text!r}"
        assert ", got " in text, f"unclear message {text!r}"
    else:
        check_graph(made.result, used.metadata)
        times = max(1.0, int(made.result.image_size.prod()) / PIXELS)
    made.require(seconds=SECONDS * times, mib=MOST_OF_ERROR if made.error else MOST * times)


def graph_of(path: Path, content: bytes, used: VisionBrain, max_pixels: int = 4 * PIXELS) -> Call:
    """Makes the graph of a file's picture, as anyone would."""
    path.write_bytes(content)
    with strict_warnings():
        made = call(lambda: used(read_image(path, used.in_channels, max_pixels=max_pixels)))
    check(made, str(path), used)
    return made


@pytest.mark.parametrize("kind", odd_images.FILES, ids=lambda kind: kind.__name__)
@cases(6)
@given(seed=SEEDS)
def test_a_file_gives_a_graph_or_one_error(kind: object, seed: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    suffix, content = kind(np.random.default_rng(seed))
    path, used = tmp_path_factory.getbasetemp() / f"picture.{suffix}", brain_of(seed)
    made = graph_of(path, content, used)
    if kind is odd_images.saved:
        assert made.error is None
    if made.error is not None:
        return
    with strict_warnings():
        assert mnist_style(read_image(path)).shape == (28, 28)
    # An open PIL image and its file give the same graph. From memory: what Pillow maps from a path is wrong in TIFF
    # files that are turned by 90°.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with Image.open(io.BytesIO(content)) as opened:
            other = used(opened)
    assert all(torch.equal(other[field], values) for field, values in made.result.items())


@cases(40)
@given(seed=SEEDS)
def test_an_image_in_memory_gives_a_graph_or_one_error(seed: int) -> None:
    check_in_memory(*odd_images.in_memory(np.random.default_rng(seed)), seed)


def check_in_memory(image: object, good: bool, seed: int) -> None:
    used = brain_of(seed)
    with strict_warnings():
        made = call(lambda: used(image))
    assert (made.error is None) == good, f"good is {good}, but {made.error or 'accepted'}"
    check(made, "image", used)
    if not good:  # and by its position among others
        place = seed % 3
        images = [np.zeros((4, 4), np.uint8)] * place + [image]
        check(call(lambda: used.batch(images)), f"images[{place}]", used)


@pytest.mark.parametrize("kind", odd_images.BOMBS)
@cases(1)
@given(seed=SEEDS)
def test_bombs_are_refused(kind: int, seed: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    suffix, content = odd_images.bomb(np.random.default_rng(seed), kind)
    path = tmp_path_factory.getbasetemp() / f"bomb.{suffix}"
    assert graph_of(path, content, brain_of(seed), image_reading.MAX_PIXELS).error is not None


@pytest.mark.parametrize("kind", odd_images.NOTES)
@cases(1)
@given(seed=SEEDS)
def test_what_stands_beside_the_pixels_costs_nothing(
    kind: str, seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    suffix, content = odd_images.with_notes(np.random.default_rng(seed), kind)
    path = tmp_path_factory.getbasetemp() / f"notes.{suffix}"
    made = graph_of(path, content, brain_of(seed))
    made.require(seconds=SECONDS, mib=MOST_OF_ERROR)
    with strict_warnings():
        header = call(lambda: read_header(path))
    header.require(seconds=SECONDS, mib=MOST_OF_ERROR)
    assert (header.error is None) == (made.error is None)


@pytest.mark.slow
@pytest.mark.parametrize("side", [512, 1024, 2048])
@pytest.mark.parametrize("mode", BRAINS)
@pytest.mark.parametrize("noisy", [False, True])
def test_a_pixel_of_a_large_image_costs_no_more(mode: str, side: int, noisy: bool) -> None:
    in_channels = 1 if noisy else 3
    brain(mode, in_channels)
    # The first of each warms up; a large one that is cheap enough at once need not be tried again.
    small, small_mib = np.min([cost_of_side(mode, in_channels, 256, noisy) for _ in range(2)], axis=0)
    large, large_mib = cost_of_side(mode, in_channels, side, noisy)
    if large > GROWTH * small or large_mib > GROWTH * max(small_mib, 1e-6):
        again = [[cost_of_side(mode, in_channels, size, noisy) for size in (256, side)] for _ in range(2)]
        (small, small_mib), (large, large_mib) = np.min(again, axis=0)
    assert large <= GROWTH * small, "expected seconds to grow linearly"
    assert large_mib <= GROWTH * max(small_mib, 1e-6), "expected memory to grow linearly"


def cost_of_side(mode: str, in_channels: int, side: int, noisy: bool) -> tuple[float, float]:
    """Seconds and MiB for each pixel of a brain's first picture of a size.

    Without the kernel's seconds: a large array is made of fresh pages, which the kernel hands out one by one, and a
    small one of pages that are there.
    """
    y, x = np.indices((side, side))
    strokes = np.where(((y + x) % 32 < 4) | ((y - x) % 32 < 4), 255, 0).astype(np.uint8)
    image = np.random.default_rng(0).integers(0, 256, (side, side), dtype=np.uint8) if noisy else strokes
    started = getrusage(RUSAGE_SELF).ru_utime
    made = call(lambda: VisionBrain(mode, in_channels=in_channels)(image))
    assert made.error is None
    return (getrusage(RUSAGE_SELF).ru_utime - started) / side**2, made.mib / side**2


class TestWhatIsWrongIsNoticed:
    @pytest.mark.parametrize(
        ("error", "message"),
        [
            (OSError("broken"), "raised OSError: broken"),
            (ImageError("broken"), "unclear message 'broken'"),
            (ImageError("elsewhere.png: expected this, got that"), "unclear message"),
        ],
    )
    def test_another_error(
        self, error: Exception, message: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        def read(*_: object, **__: object) -> None:
            raise error

        monkeypatch.setitem(graph_of.__globals__, "read_image", read)
        with pytest.raises(AssertionError, match=message):
            graph_of(tmp_path / "a.png", b"", brain_of(0))

    def test_a_bad_image_that_is_accepted_and_a_good_one_that_is_not(self) -> None:
        with pytest.raises(AssertionError, match="good is False, but accepted"):
            check_in_memory(np.zeros((4, 4), np.uint8), False, 0)
        with pytest.raises(AssertionError, match="good is True, but image: expected"):
            check_in_memory(np.zeros((4, 0), np.uint8), True, 0)

    @pytest.mark.slow
    def test_a_bomb_without_limits(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setattr(image_reading, "without_notes", lambda content, *_: content)
        monkeypatch.setitem(check.__globals__, "SECONDS", 0.1)
        suffix, content = odd_images.bomb(np.random.default_rng(0), 10)  # takes long
        with pytest.raises(AssertionError, match=r"expected 0\.1 s at most"):
            graph_of(tmp_path / f"a.{suffix}", content, brain_of(0))

    def test_an_invalid_graph(self, monkeypatch: pytest.MonkeyPatch) -> None:
        made = call(lambda: brain_of(0)(np.eye(8, dtype=np.float32)))
        check(made, "image", brain_of(0))
        made.result.level = made.result.level.flip(0)
        with pytest.raises(Exception, match="level"):
            check(made, "image", brain_of(0))
