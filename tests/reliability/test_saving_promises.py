"""What is saved over is there whole, as it was or as it becomes; what can be made can be saved and loaded."""

import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from cases import cases, kill_again_and_again
from hypothesis import given, reject
from hypothesis import strategies as st

from grapheme_pyg import ImageClassificationModel, VisionBrain
from grapheme_pyg.labels import canonical
from grapheme_pyg.presets import PRESETS
from grapheme_pyg.vision.unroll import MOST_EDGE_TYPES


@pytest.mark.slow
def test_whoever_is_killed_leaves_the_old_or_the_new(tmp_path: Path) -> None:
    kill_again_and_again("killed_saves.py", tmp_path)


BOOLS, COUNTS = st.booleans(), st.integers(1, 3)
ROUNDS = st.lists(COUNTS, min_size=2, max_size=5)
THRESHOLD = st.none() | st.integers(0, 254)
GRID = {
    "patch_size": st.integers(1, 5),
    "threshold": THRESHOLD,
    "margin": st.integers(0, 3),
    "rounds": ROUNDS,
    "extend": BOOLS,
}
BLOB = {
    "thresholds": st.lists(st.integers(0, 254), min_size=1, max_size=8, unique=True).map(sorted)
    | st.sampled_from([20, 70]).map(lambda number: range(0, 3 * number, 3)),
    "min_area": st.sampled_from([*range(1, 10), 2**40]),
    "max_blobs": st.sampled_from([*range(1, 100, 10), 2**40]),
    "blob_rounds": COUNTS,
    "raster": st.integers(1, 8),
}
SUPERPIXEL = {
    "num_regions": st.integers(1, 100),
    "compactness": st.sampled_from([0.1, 1, 10, 1e-9, 1e6, 1e9, float("inf")]),
    "threshold": THRESHOLD | st.just(-1),
    "rounds": ROUNDS,
}
OPTIONS = {
    "grid": GRID,
    "blob": BLOB | {"stroke_rounds": st.integers(0, 3)},
    "superpixel": SUPERPIXEL,
    "hybrid": GRID | BLOB,
}
SETTINGS = {
    "in_channels": st.sampled_from([1, 3]),
    "edge_attr": st.none() | BOOLS,
    "seg": BOOLS,
    "resize": st.none() | st.integers(1, 40),
    "white": st.none() | st.integers(1, 2**16 - 1),
    "contours": BOOLS,
    "detections": BOOLS,
}
MODEL = {
    "norm": st.sampled_from(["batch", "layer", None]),
    "embedding_channels": st.integers(1, 70),
    "templates_per_class": st.integers(1, 5),
    "template_update": st.sampled_from(["gradient", "momentum"]),
    "dropout": st.sampled_from([0, 0.3, torch.tensor(0.1).numpy()[()]]),
    "readout": st.sampled_from(["levels", "sinks"]),
}
ODD_NAMES = (
    "a\tb",
    "אב",
    "\u202eabc",
    "a\u200bb",
    "é",
    "e\u0301",
    "👩‍👩‍👧",
    "x" * 5000,
    "猫" * 300,
    '"sha256": "',
    "",
    " ",
    "\ud800",
)
HONEST = st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=20)
NAMES = st.integers(0, 5).flatmap(lambda number: st.sampled_from(ODD_NAMES) if number == 0 else HONEST)
FEW = st.integers(1, 30) | st.lists(NAMES, min_size=1, max_size=12, unique_by=canonical)
MANY = st.sampled_from([3000, 20_000, 40_000])
CLASSES = st.integers(0, 9).flatmap(lambda number: MANY if number == 0 else FEW)
HALF = st.sampled_from([torch.float32] * 6 + [torch.float64, torch.float16, torch.bfloat16])


def some(options: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=options)


@st.composite
def models(draw: st.DrawFn) -> ImageClassificationModel:
    """A model of any settings, without those that are refused by a ValueError that says why."""
    mode, classes, seed = draw(st.sampled_from(sorted(OPTIONS))), draw(CLASSES), draw(st.integers(0, 2**32))
    torch.manual_seed(seed)
    try:
        if draw(st.integers(0, 5)) == 0:
            vision = draw(some(SETTINGS))
            return ImageClassificationModel.from_preset(draw(st.sampled_from(sorted(PRESETS))), classes, vision=vision)
        brain = VisionBrain(mode, **draw(some(SETTINGS)), **draw(some(OPTIONS[mode])))
        width = st.integers(1, 24) if len(brain.metadata[1]) < MOST_EDGE_TYPES // 8 else st.just(1)
        levels = max(brain.node_levels) + 1
        widths = draw(st.lists(width, min_size=levels, max_size=levels))
        return ImageClassificationModel(brain, classes, hidden_channels=widths, **draw(some(MODEL)))
    except ValueError as error:
        assert "expected" in str(error)  # noqa: PT017
        reject()


def check_saved(model: ImageClassificationModel, images: torch.Tensor, folder: str) -> None:
    model.save_pretrained(folder)
    loaded = ImageClassificationModel.from_pretrained(folder)
    assert (loaded.classes, loaded.config, loaded.vision) == (model.classes, model.config, model.vision)
    state = loaded.state_dict()
    for name, value in model.state_dict().items():
        same = state[name] == value if not isinstance(value, torch.Tensor) else state[name].dtype == value.dtype
        assert same, name
        assert not isinstance(value, torch.Tensor) or torch.equal(state[name].nan_to_num(2), value.nan_to_num(2)), name
    if model.classifier.templates.dtype in (torch.float32, torch.float64):
        assert torch.equal(loaded.predict(images).probabilities, model.predict(images).probabilities)


@cases(3)
@given(model=models(), size=st.tuples(st.integers(1, 20), st.integers(1, 20)), dtype=HALF, name=NAMES, learned=BOOLS)
def test_what_can_be_made_can_be_saved_and_loaded(
    model: ImageClassificationModel, size: tuple[int, int], dtype: torch.dtype, name: str, learned: bool
) -> None:
    images = torch.rand(3, 1, *size)
    if learned:
        model(model.vision.batch(images))  # moves the running statistics
    model.to(dtype)
    with tempfile.TemporaryDirectory() as folder:
        check_saved(model, images, folder)
        if len(model.classes) > 100 or dtype in (torch.float16, torch.bfloat16):
            return
        model.remember(images, [0, 0, 0])
        model.calibrate(images, [0, 0, 0])
        try:
            model.add_class(name, images[:1])
        except ValueError as error:
            assert "name: expected" in str(error) or "expected at most" in str(error)  # noqa: PT017
        check_saved(model, images, folder)
