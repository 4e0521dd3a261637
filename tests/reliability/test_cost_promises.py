"""Settings of models: whatever a small file asks for, a pixel takes a stated amount of memory, or is refused before."""

import random
from pathlib import Path
from typing import Any

import pytest
import torch
from cases import MIB, SEEDS, call, cases
from hypothesis import given

from grapheme_pyg import ImageClassificationModel, VisionBrain
from grapheme_pyg.errors import ImageError

# Bytes for each pixel as the model sees it, and the share of the model's size; for each image, times that size.
PIXEL, SHARE, IMAGE = 2**15, 0.25, 32
# Beside it: what is kept of libraries, and of lattices.
OBJECTS = 16.0


def extreme(rng: random.Random) -> dict[str, Any]:
    """Settings that are likely to be dear, of any mode."""
    mode = rng.choice(("grid", "blob", "superpixel", "hybrid"))
    patch_size, in_channels = rng.choice((1, 1, 2, 8)), rng.choice((1, 3))
    grid = {
        "patch_size": patch_size,
        "margin": rng.randint(1, min(14, int(2.5 * patch_size))),
        "threshold": 0,
        "rounds": rng.choice(((16, 16), (16, 1), (1, 16, 16), (1,) * 12)),
    }
    thresholds = tuple(range(3, 250, rng.choice((7, 20, 120))))
    blob = {"thresholds": thresholds, "min_area": 1, "max_blobs": 2**20, "blob_rounds": rng.choice((1, 4, 16))}
    regions = {"num_regions": rng.choice((75, 300, 4096)), "threshold": 9, "rounds": rng.choice(((16, 16), (1, 1)))}
    strokes = {"stroke_rounds": rng.choice((0, 3, 16))}
    of_mode = {"grid": grid, "blob": blob | strokes, "superpixel": regions, "hybrid": grid | blob}[mode]
    common = {name: rng.random() < 0.5 for name in ("edge_attr", "contours", "detections")}
    return common | of_mode | {"mode": mode, "in_channels": in_channels, "resize": rng.choice((None, None, 60))}


def check_cost(options: dict[str, Any], folder: Path, rng: random.Random) -> float:
    """Memory of a prediction, in MiB, and how much of the most that is promised it is."""
    vision = VisionBrain(**options)
    widths = [rng.choice((1, 1, 200))] + [1] * max(vision.node_levels)
    model = ImageClassificationModel(
        vision, 2, hidden_channels=widths, embedding_channels=1, norm=rng.choice(("batch", None)), readout="sinks"
    )
    model.save_pretrained(folder)
    size = sum(file.stat().st_size for file in folder.iterdir())
    height, width = rng.choice(((1, 1), (28, 28), (40, 50)))
    image = torch.rand(3, height, width, generator=torch.Generator().manual_seed(rng.randrange(2**32)))
    image[:, : height // 3] = 0
    pixels = height * width if vision.resize is None else vision.resize**2
    model.predict([torch.rand(1, 9, 9)])  # what libraries keep at their first use
    made = call(lambda: model.predict([image]))
    assert made.error is None
    most = (pixels * (PIXEL + SHARE * size) + IMAGE * size) / MIB + OBJECTS
    assert made.mib <= most, f"expected {most} MiB at most, got {made.mib} of {options} and {size} bytes"
    return (made.mib - OBJECTS) / (most - OBJECTS)


@pytest.mark.slow
@cases(4)
@given(seed=SEEDS)
def test_memory_for_each_pixel(seed: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    rng = random.Random(seed)
    options = extreme(rng)
    try:
        VisionBrain(**options)
    except ValueError as error:
        # Of many thresholds and rounds.
        assert "relations in all rounds" in str(error)  # noqa: PT017
        return
    check_cost(options, tmp_path_factory.mktemp("model"), rng)


def test_small_images_are_not_made_huge() -> None:
    with pytest.raises(ImageError, match=r"image: expected at least 512 pixels on its longer side for resize=4096"):
        VisionBrain(resize=4096)(torch.rand(28, 20))
    assert VisionBrain(resize=256)(torch.zeros(3, 2)).image_size.tolist() == [[3, 2]]
    assert VisionBrain(resize=480)(torch.zeros(60, 2)).image_size.tolist() == [[60, 2]]
