"""Recognition of single digits on synthetic photographs of sheets of paper.

    python examples/train_mnist.py --run-dir runs/mnist
    python benchmarks/sheets.py --model runs/mnist/model

Each photograph is made from one of MNIST's digits: its centre line is drawn with a pen of 2 to 12 % of its height, at
least 1.5 pixels wide, in ink 20 to 100 % darker than the paper, on a sheet that is blank, ruled or squared, with or
without a frame; light, perspective, a camera and JPEG follow, and half of the photographs are inverted. The digits are
the last 5,000 training images; `--test` takes the test images and other sheets instead.

The script prints the share of digits recognised for each kind of sheet, the share of sheets without a digit that are
found blank, and the results for sheets with several digits.
"""

import argparse
import io
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from common import split_mnist
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from scipy.special import expit

# scikit-image has no types.
from skimage.morphology import skeletonize  # type: ignore[import-untyped, unused-ignore]

from grapheme_pyg import ImageClassificationModel
from grapheme_pyg.datasets import load_mnist

Floats = NDArray[Any]
Bytes = NDArray[np.uint8]
PAPERS, FRAMES, LIGHTS = ("blank", "ruled", "squared"), ("no frame", "edge", "box"), ("even", "shadow", "vignette")
# Height in pixels at which a digit's centre line is found, and the margin around it.
HEIGHT, MARGIN = 160, 48


@dataclass(frozen=True)
class Sheet:
    """The properties of a photograph; lengths are shares of the sheet's shorter side unless noted.

    Attributes:
        side: Longer side of the photograph in pixels.
        shape: Height and width of the sheet; the shorter one is 1.
        height: Height of the digit.
        pen: Width of the pen as a share of the digit's height.
        ink: Darkness of the ink relative to the paper, in [0, 1].
        paper: One of PAPERS.
        spacing: Distance of the paper's lines.
        lines: Darkness of the paper's lines relative to the paper.
        frame: One of FRAMES.
        light: One of LIGHTS.
        angle: Angle of rotation in degrees.
        inverted: Whether light and dark are exchanged.
        quality: Quality of JPEG.
    """

    side: int
    shape: tuple[float, float]
    height: float
    pen: float
    ink: float
    paper: str
    spacing: float
    lines: float
    frame: str
    light: str
    angle: float
    inverted: bool
    quality: int


def random_sheet(generator: np.random.Generator, most: float = 0.9) -> Sheet:
    """Draws a random sheet, with digits of at most the height ``most``."""
    longer = generator.choice([1.0, 4 / 3, 2**0.5])
    ink = 0.2 + 0.8 * generator.random()
    frame = str(generator.choice(FRAMES))
    return Sheet(
        side=round(300 * 10 ** generator.random()),
        shape=(longer, 1.0) if generator.random() < 0.5 else (1.0, longer),
        height=generator.uniform(0.1, min(most, 0.7) if frame == "box" else most),
        pen=generator.uniform(0.02, 0.12),
        ink=ink,
        paper=str(generator.choice(PAPERS)),
        spacing=generator.uniform(0.025, 0.08),
        lines=min(generator.uniform(0.05, 0.3), 0.8 * ink),
        frame=frame,
        light=str(generator.choice(LIGHTS)),
        angle=generator.uniform(-15, 15),
        inverted=bool(generator.random() < 0.5),
        quality=int(generator.integers(30, 96)),
    )


def distances(digit: Bytes) -> Floats:
    """Returns each point's distance from the centre line of a digit, in units of its height, with a margin."""
    rows, columns = (np.flatnonzero((digit > 127).any(axis=axis)) for axis in (1, 0))
    cut = np.pad(digit[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1], 2)
    scale = HEIGHT / len(rows)
    large = Image.fromarray(cut).resize(
        (round(cut.shape[1] * scale), round(cut.shape[0] * scale)), Image.Resampling.BICUBIC
    )
    line = skeletonize(  # type: ignore[no-untyped-call]
        np.pad(ndimage.gaussian_filter(np.asarray(large, float), 0.3 * scale) > 110, MARGIN)
    )
    rows, columns = (np.flatnonzero(line.any(axis=axis)) for axis in (1, 0))
    line = np.pad(line[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1], MARGIN)
    far: Floats = ndimage.distance_transform_edt(~line).astype(np.float32) / max(np.ptp(rows), np.ptp(columns), 1)
    return far


def photograph(sheet: Sheet, digits: list[Bytes], generator: np.random.Generator) -> tuple[Bytes, list[list[float]]]:
    """Makes a photograph; returns it and the box of each digit: left, top, right, bottom, in pixels."""
    tall, wide = sheet.shape
    scale = sheet.side / max(tall, wide)
    height, width = round(tall * scale), round(wide * scale)
    _, to_sheet = _view(sheet, (height, width), generator)
    y, x = np.mgrid[:height, :width].astype(np.float32) + np.float32(0.5)
    depth = to_sheet[2, 0] * x + to_sheet[2, 1] * y + to_sheet[2, 2]
    u, v = ((to_sheet[i, 0] * x + to_sheet[i, 1] * y + to_sheet[i, 2]) / depth for i in (0, 1))
    pixel = float(np.sqrt(abs(np.linalg.det(to_sheet))))  # size of a pixel on the sheet, in the middle
    paper = np.ones((height, width), np.float32)
    line = max(sheet.spacing * generator.uniform(0.02, 0.07), pixel)
    for along, has in ((v, sheet.paper != "blank"), (u, sheet.paper == "squared")):
        if has:
            off = np.abs((along / sheet.spacing + generator.random()) % 1 - 0.5) * sheet.spacing
            paper *= 1 - sheet.lines * _covered(line / 2 - off, pixel)
    if sheet.paper == "ruled" and generator.random() < 0.5:  # its margin
        paper *= 1 - sheet.lines * _covered(line / 2 - np.abs(u - generator.uniform(0.05, 0.2) * wide), pixel)
    pen = max(sheet.pen * sheet.height, 1.5 * pixel)
    boxes = []
    for digit, (cy, cx) in zip(digits, _places(sheet, len(digits), pen, generator), strict=True):
        far = distances(digit)
        step = sheet.height / (max(far.shape) - 2 * MARGIN)
        places = [(v - cy) / step + far.shape[0] / 2, (u - cx) / step + far.shape[1] / 2]
        inside = (np.abs(v - cy) < step * far.shape[0] / 2) & (np.abs(u - cx) < step * far.shape[1] / 2)
        covered = np.zeros_like(paper)
        distance = ndimage.map_coordinates(far, [place[inside] for place in places], order=1, mode="nearest")
        covered[inside] = _covered(pen / 2 - sheet.height * distance, pixel)
        # The ink of a pen or a pencil is uneven.
        strength = sheet.ink * (1 - 0.2 * sheet.ink * _cloud((height, width), 0.02, generator))
        paper = np.minimum(paper, 1 - strength * covered)
        rows, columns = (np.flatnonzero((covered > 0.5).any(axis=axis)) for axis in (1, 0))
        boxes.append([float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)])
    if sheet.frame == "box":
        middle, half = _box(sheet, boxes, to_sheet, pen, generator)
        far = np.maximum(np.abs(u - middle[0]) - half[0], np.abs(v - middle[1]) - half[1])
        wobble = 0.3 * pen * (_cloud((height, width), 0.1, generator) - 0.5)
        paper = np.minimum(paper, 1 - sheet.ink * _covered(pen / 2 - np.abs(far + wobble), pixel))
    level = generator.uniform(150, 230)
    if sheet.frame == "edge":
        outside = np.maximum(np.maximum(-u, u - wide), np.maximum(-v, v - tall))
        table = generator.choice([generator.uniform(0.1, 0.75), generator.uniform(1.05, 250 / level)])
        grain = 1 + 0.1 * (_cloud((height, width), 0.01, generator) - 0.5)
        paper += (table * grain - paper) * _covered(outside, pixel)
    picture = level * paper * _light(sheet, generator, y / max(height, width), x / max(height, width))
    picture = ndimage.gaussian_filter(picture, generator.uniform(0.3, 0.8))
    picture += generator.normal(0, generator.uniform(0.5, 4), picture.shape)
    grey = picture.round().clip(0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(255 - grey if sheet.inverted else grey).save(file, "JPEG", quality=sheet.quality)
    return np.asarray(Image.open(file)), boxes


def _covered(inside: Floats, pixel: float) -> Floats:
    """Returns the covered share of each pixel, from its distance to the inside of an edge."""
    return np.clip(0.5 + inside / pixel, 0, 1)


def _cloud(size: tuple[int, int], scale: float, generator: np.random.Generator) -> Floats:
    """Draws a smooth random image in [0, 1], which changes over the share ``scale`` of the longer side."""
    coarse = generator.random([max(2, round(length / (scale * max(size)))) for length in size], np.float32)
    return np.asarray(Image.fromarray(coarse).resize(size[::-1], Image.Resampling.BILINEAR))


def _view(sheet: Sheet, size: tuple[int, int], generator: np.random.Generator) -> tuple[Floats, Floats]:
    """Returns homographies from (u, v, 1) on the sheet to (x, y, 1) in pixels, and back.

    The sheet fits into the photograph; unless its edge is shown, its paper continues beyond it.
    """
    tall, wide = sheet.shape
    angle = np.radians(sheet.angle)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    corners = np.array([[0, 0], [wide, 0], [wide, tall], [0, tall]])
    spread = generator.uniform(-0.05, 0.05, (4, 2)) * min(size)
    moved = (corners - [wide / 2, tall / 2]) @ turn.T * min(size) + spread
    moved *= 0.97 * min(size[1] / np.ptp(moved[:, 0]), size[0] / np.ptp(moved[:, 1]))
    moved += [size[1] / 2, size[0] / 2] - (moved.max(axis=0) + moved.min(axis=0)) / 2
    rows = []
    for (u, v), (x, y) in zip(corners, moved, strict=True):
        rows += [[u, v, 1, 0, 0, 0, -u * x, -v * x], [0, 0, 0, u, v, 1, -u * y, -v * y]]
    found = np.append(np.linalg.solve(np.array(rows), moved.flatten()), 1).reshape(3, 3)
    back = np.linalg.inv(found)
    return found, back / (back[2] @ [size[1] / 2, size[0] / 2, 1])


def _places(sheet: Sheet, number: int, pen: float, generator: np.random.Generator) -> list[tuple[float, float]]:
    """Draws the centres of digits on the sheet, at distances of more than their height."""
    room = sheet.height / 2 + pen + (0.04 if sheet.frame != "box" else 0.06)
    found: list[tuple[float, float]] = []
    while len(found) < number:
        y, x = (generator.uniform(min(room, side / 2), max(side - room, side / 2)) for side in sheet.shape)
        if all(max(abs(y - other[0]), abs(x - other[1])) > 1.35 * sheet.height + 2 * pen for other in found):
            found.append((y, x))
    return found


def _box(
    sheet: Sheet, boxes: list[list[float]], to_sheet: Floats, pen: float, generator: np.random.Generator
) -> tuple[Floats, Floats]:
    """Returns the middle and half the width and height of a box around the digits; any box if there are none."""
    tall, wide = sheet.shape
    if not boxes:
        return np.array([wide / 2, tall / 2]), generator.uniform(0.15, 0.4, 2) * [wide, tall]
    left, top, right, bottom = (
        function(side) for function, side in zip((min, min, max, max), zip(*boxes, strict=True), strict=True)
    )
    corners = np.array([[x, y, 1] for x in (left, right) for y in (top, bottom)]) @ to_sheet.T
    corners = corners[:, :2] / corners[:, 2:]
    low, high = corners.min(axis=0), corners.max(axis=0)
    gap = pen + generator.uniform(0.05, 0.3, 2) * sheet.height
    return (low + high) / 2, (high - low) / 2 + gap


def _light(sheet: Sheet, generator: np.random.Generator, y: Floats, x: Floats) -> Floats:
    angle = generator.uniform(0, 2 * np.pi)
    along = (y - y.max() / 2) * np.sin(angle) + (x - x.max() / 2) * np.cos(angle)
    light: Floats = 1 - generator.uniform(0, 0.2) * (along + 0.7)
    if sheet.light == "shadow":
        edge = expit(np.float32(4 / generator.uniform(0.005, 0.2)) * (along - generator.uniform(-0.2, 0.2)))
        light *= 1 - generator.uniform(0.1, 0.5) * edge
    elif sheet.light == "vignette":
        radius = np.hypot(y - y.max() / 2, x - x.max() / 2)
        light *= 1 - generator.uniform(0.1, 0.6) * (radius / radius.max()) ** generator.uniform(1.5, 4)
    return light


def overlap(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    """Computes the intersection over union of two boxes."""
    width, height = (min(one[i + 2], other[i + 2]) - max(one[i], other[i]) for i in (0, 1))
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    both = max(width, 0) * max(height, 0)
    return both / (sum(areas) - both)


def kinds(sheet: Sheet) -> list[str]:
    """Returns the kinds of sheet as which a sheet is counted."""
    found = ["all", sheet.paper, sheet.frame, sheet.light]
    named = {
        "inverted": sheet.inverted,
        "pen below 4 %": sheet.pen < 0.04,
        "ink below 36 %": sheet.ink < 0.36,
        "digit below 25 %": sheet.height < 0.25,
        "digit above 70 %": sheet.height > 0.7,
        "JPEG below 50": sheet.quality < 50,
    }
    return found + [name for name, holds in named.items() if holds]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="folder of a model")
    parser.add_argument("--limit", type=int, default=500, help="sheets with a digit, and half as many blank ones (500)")
    parser.add_argument("--test", action="store_true", help="take the test images, and other sheets; once, at the end")
    arguments = parser.parse_args()
    model = ImageClassificationModel.from_pretrained(arguments.model)
    digits, labels = load_mnist().test if arguments.test else split_mnist()[1]
    counts: Counter[tuple[str, str]] = Counter()
    seconds = 0.0
    for group, number in ((0, arguments.limit), (1, arguments.limit // 2), (2, arguments.limit // 4)):
        for i in range(number):
            generator = np.random.default_rng([group + 3 * arguments.test, i])
            sheet = random_sheet(generator, 0.22 if group == 2 else 0.9)
            chosen = generator.integers(0, len(digits), (1, 0, 2 + i % 3)[group])
            picture, boxes = photograph(sheet, [digits[j].numpy() for j in chosen], generator)
            started = time.process_time()
            answer = model.predict([picture], find_drawings=True)
            seconds += time.process_time() - started
            told = answer.reasons[0] or "one"
            if group == 0:
                told = "right" if answer.labels[0] == model.classes[int(labels[chosen[0]])] else told
            for kind in kinds(sheet) if group == 0 else ("no digit",) if group == 1 else ("several digits",):
                counts[kind, told] += 1
                counts[kind, "n"] += 1
                counts[kind, "box"] += group == 0 and overlap(answer.boxes[0] or (0, 0, 1, 1), tuple(boxes[0])) > 0.8
    names = ("right", "box", "one", "blank", "several drawings")
    print(f"{'':18}{'n':>6}" + "".join(f"{name:>18}" for name in names))
    for kind in dict.fromkeys(kind for kind, _ in counts):
        total = counts[kind, "n"]
        print(f"{kind:18}{total:6}" + "".join(f"{100 * counts[kind, name] / total:16.1f} %" for name in names))
    print(f"{seconds / (arguments.limit * 7 // 4):.2f} s of CPU time for each")


if __name__ == "__main__":
    main()
