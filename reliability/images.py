"""Images from strangers harm nothing: broken and odd ones, bombs, and what large ones cost."""

import tempfile
import warnings
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from harness import Check, main
from image_bombs import BOMBS, bomb
from odd_files import FILES, saved
from odd_images import in_memory
from PIL import Image
from process_cost import Cost, cost_of

from grapheme_pyg import VisionBrain
from grapheme_pyg.datasets import mnist_style, read_image
from grapheme_pyg.errors import ImageError
from grapheme_pyg.testing import check_graph
from grapheme_pyg.vision.pil_images import MAX_PIXELS as PIXELS_OF_FILES

BRAINS = ("grid", "blob", "superpixel", "hybrid")
# Up to so many pixels a second and 50 MB are enough; above, what is allowed grows with the pixels.
PIXELS, SECONDS, MEGABYTES = 256 * 256, 1.0, 50.0
# Of broken files whose header says something else now; more is refused.
MAX_PIXELS = 4 * PIXELS
# How much more a pixel of a large image may cost than one of 256².
GROWTH = 2.0


@cache
def brain(mode: str, in_channels: int) -> VisionBrain:
    """A brain that has seen an image, so that what is imported on first use is."""
    made = VisionBrain(mode, in_channels=in_channels)
    made(np.zeros((40, 40), np.uint8))
    return made


def brain_of(number: int) -> VisionBrain:
    return brain(BRAINS[number % 4], (1, 3)[number // 4 % 2])


def require(holds: bool, message: str) -> None:
    if not holds:
        raise AssertionError(message)


def judged(cost: Cost, name: str, used: VisionBrain, pixels: int = PIXELS) -> dict[str, float]:
    """Requires a valid graph or one clear error, and that neither took too much.

    Args:
        cost: Of making the graph.
        name: What an error must begin with.
        used: The brain.
        pixels: Of the image.
    """
    if cost.error is not None:
        error = cost.error
        require(type(error) is ImageError, f"raised {type(error).__name__}: {error}")
        text = str(error)
        require(text.startswith(f"{name}: expected ") and ", got " in text, f"unclear message {text!r}")
    else:
        check_graph(cost.result, used.metadata)
    allowed = max(1.0, pixels / PIXELS)
    require(cost.seconds <= SECONDS * allowed, f"{cost.seconds:.2f} s for {pixels} pixels")
    require(cost.megabytes <= MEGABYTES * allowed, f"{cost.megabytes:.1f} MB for {pixels} pixels")
    return {"seconds": cost.seconds / allowed, "megabytes": cost.megabytes / allowed}


def of_file(content: bytes, suffix: str, number: int, max_pixels: int) -> tuple[dict[str, float], Cost]:
    """Makes the graph of a file's picture, as anyone would."""
    used = brain_of(number)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("error")
        path = Path(folder, f"{number}.{suffix}")
        path.write_bytes(content)

        def graph() -> Any:
            return used(read_image(path, used.in_channels, max_pixels=max_pixels))

        cost = cost_of(graph)
        found = judged(cost, str(path), used, PIXELS if cost.error else int(cost.result.image_size.prod()))
        if cost.error is None:
            # An open PIL image and its file give the same graph.
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                # From memory: what Pillow maps from a path is wrong in TIFF files that are turned by 90°.
                with Image.open(BytesIO(content)) as opened:
                    other = used(opened)
            for field, values in cost.result.items():
                require(torch.equal(other[field], values), f"{field} of the image from Pillow is another")
            require(mnist_style(read_image(path)).shape == (28, 28), "of another size")
    return found, cost


def one_file(number: int) -> dict[str, float]:
    kind = FILES[number % len(FILES)]
    suffix, content = kind(np.random.default_rng(number))
    found, cost = of_file(content, suffix, number // len(FILES), MAX_PIXELS)
    require(kind is not saved or cost.error is None, f"refused a whole {suffix} file: {cost.error}")
    return found


def one_in_memory(number: int) -> dict[str, float]:
    image, good = in_memory(np.random.default_rng(number))
    used = brain_of(number)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cost = cost_of(lambda: used(image))
    require((cost.error is None) == good, f"good is {good}, but {cost.error or 'accepted'}")
    found = judged(cost, "image", used)
    if not good:  # and by its position among others
        place = number % 3
        images = [np.zeros((4, 4), np.uint8)] * place + [image]
        judged(cost_of(lambda: used.batch(images)), f"images[{place}]", used)
    return found


def one_bomb(number: int) -> dict[str, float]:
    suffix, content = bomb(np.random.default_rng(number), number % BOMBS)
    found, cost = of_file(content, suffix, number // BOMBS, PIXELS_OF_FILES)
    require(cost.error is not None, "was not refused")
    return found


def picture_of(side: int, kind: int) -> "np.ndarray[Any, Any]":
    """A square picture that is as busy whatever its side: strokes every 32 pixels, or noise."""
    if kind == 0:
        y, x = np.indices((side, side))
        return np.where(((y + x) % 32 < 4) | ((y - x) % 32 < 4), 255, 0).astype(np.uint8)
    return np.random.default_rng(0).integers(0, 256, (side, side), dtype=np.uint8)


@cache
def cost_of_side(mode: str, in_channels: int, side: int, kind: int) -> tuple[float, float]:
    """Seconds and MB for each pixel of a brain's first picture of a size; of small ones the better of two times."""
    image = picture_of(side, kind)
    brain(mode, in_channels)
    costs = []
    for _ in range(2 if side < 1024 else 1):
        cost = cost_of(lambda: VisionBrain(mode, in_channels=in_channels)(image))
        require(cost.error is None, f"raised {cost.error!r}")
        costs.append((cost.seconds / side**2, cost.megabytes / side**2))
    seconds, megabytes = zip(*costs, strict=True)
    return min(seconds), max(megabytes)


def one_large(number: int) -> dict[str, float]:
    mode, side = BRAINS[number % 4], (512, 1024, 2048)[number // 4 % 3]
    kind = number // 12 % 2
    in_channels = (3, 1)[kind]
    seconds, megabytes = cost_of_side(mode, in_channels, side, kind)
    least = cost_of_side(mode, in_channels, 256, kind)
    times, more = seconds / least[0], megabytes / max(least[1], 1e-6)
    require(times <= GROWTH, f"{mode}, side {side}: {times:.2f} times the seconds for each pixel")
    require(more <= GROWTH, f"{mode}, side {side}: {more:.2f} times the memory for each pixel")
    return {"times the seconds per pixel": times, "times the memory per pixel": more}


CHECKS = (
    Check(
        "image_files",
        "a file of a picture, whole, cut, changed, lying or foreign, gives a valid graph or one ImageError, within "
        "1 s and 50 MB up to 256² pixels, linear above",
        1_100,
        one_file,
    ),
    Check(
        "image_arrays",
        "a PIL image of any mode, an array or a tensor gives a valid graph if it is an image, else one ImageError, "
        "within 1 s and 50 MB up to 256² pixels",
        800,
        one_in_memory,
    ),
    Check("image_bombs", "a small file that would unpack to much is refused within 1 s and 50 MB", 100, one_bomb),
    Check(
        "image_sizes",
        f"a pixel of up to 2048² takes at most {GROWTH:g} times the time and memory of 256²",
        24,
        one_large,
    ),
)

if __name__ == "__main__":
    raise SystemExit(main(CHECKS))
