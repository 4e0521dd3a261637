"""What is one image and what are many: all functions agree, and refuse what could be both."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from grapheme_pyg import ImageClassificationModel, TrainingSettings, explain, fit
from grapheme_pyg.errors import ImageError

MANY = {
    "tensor [2, H, W]": torch.rand(2, 28, 28),
    "tensor [2, 1, H, W]": torch.rand(2, 1, 28, 28),
    "tensor [2, 3, H, W]": torch.rand(2, 3, 28, 28),
    "array [2, H, W]": np.random.default_rng(0).random((2, 28, 28)),
    "array [2, H, W, 3]": np.random.default_rng(0).random((2, 28, 28, 3)),
    "list of colour": [torch.rand(3, 28, 28), torch.rand(3, 20, 30)],
    "column of a table": np.array([torch.rand(28, 28).numpy(), torch.rand(20, 28).numpy()], dtype=object),
}
BOTH = {
    "array [H, W, 3]": np.zeros((28, 28, 3), np.uint8),
    "array [H, W, 1]": np.zeros((28, 28, 1), np.uint8),
    "array [1, W, 3]": np.zeros((1, 28, 3), np.uint8),
    "tensor [3, H, W]": torch.zeros(3, 28, 28),
    "array [3, H, W]": np.zeros((3, 28, 28), np.uint8),
    "tensor [H, W, 3]": torch.zeros(28, 28, 3),
    "array [H, W, 4]": np.zeros((28, 28, 4), np.uint8),
}
OTHER = {
    "one tensor [H, W]": torch.zeros(28, 28),
    "a mapping": {0: torch.zeros(28, 28)},
    "a string": "picture.png",
    "a number": 3,
    "None": None,
}


@pytest.fixture(scope="module")
def model() -> ImageClassificationModel:
    torch.manual_seed(0)
    return ImageClassificationModel.from_preset("tiny", 2).eval()


@pytest.mark.parametrize("images", MANY.values(), ids=MANY)
def test_many(model: ImageClassificationModel, images: object) -> None:
    """pytorch/examples#134."""
    graphs = model.vision.batch(images).to_data_list()
    assert len(graphs) == len(model.predict(images).labels) == len(model.embed_images(images)) == 2
    for graph, one in zip(graphs, images, strict=True):
        assert torch.equal(model.vision(one).x, graph.x)
        assert explain(model, one).label == model.predict([one]).labels[0]
    fit(
        ImageClassificationModel.from_preset("tiny", 2),
        images,
        [0, 1],
        settings=TrainingSettings(epochs=1),
        verbose=False,
    )


@pytest.mark.parametrize("images", [*BOTH.values(), *OTHER.values()], ids=[*BOTH, *OTHER])
def test_what_could_be_both_or_is_neither_is_refused(model: ImageClassificationModel, images: object) -> None:
    """pytorch/examples#134: an answer for each row or channel."""
    for call in (model.predict, model.embed_images, model.vision.batch, lambda it: model.remember(it, [0, 1])):
        with pytest.raises(ValueError, match=r"^(images|labels): expected "):
            call(images)


@pytest.mark.parametrize(
    ("images", "one", "many"),
    [
        (torch.rand(3, 28, 28), lambda it: it[None], lambda it: it[:, None]),
        (torch.rand(28, 28, 3), lambda it: it.movedim(-1, 0)[None], lambda it: it[:, None]),
        (np.random.default_rng(0).random((28, 28, 3)), lambda it: it[None], lambda it: it[..., None]),
        (
            np.random.default_rng(0).random((3, 28, 28)),
            lambda it: np.moveaxis(it, 0, -1)[None],
            lambda it: it[..., None],
        ),
    ],
)
def test_the_advice_can_be_followed(
    model: ImageClassificationModel, images: Any, one: Callable[[Any], Any], many: Callable[[Any], Any]
) -> None:
    with pytest.raises(ImageError) as refused:
        model.predict(images)
    advice = re.search(r"give (.+) for one, (.+) for \d+$", str(refused.value))
    assert advice is not None
    names = {"images": images, "numpy": np}
    for text, meant, number in zip(advice.groups(), (one, many), (1, len(images)), strict=True):
        given = eval(text, names)
        assert given.shape == meant(images).shape
        assert len(model.predict(given).labels) == number


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        (torch.zeros(5, 28, 28, 3), r"got \(5, 28, 28, 3\); channels are first in a tensor, as in images\.movedim"),
        (np.zeros((5, 3, 28, 28)), r"got \(5, 3, 28, 28\); channels are last in an array, as in numpy\.moveaxis"),
        (torch.zeros(5, 2, 28, 28), r"got \(5, 2, 28, 28\)$"),
    ],
)
def test_channels_at_the_other_end(model: ImageClassificationModel, images: Any, expected: str) -> None:
    for call in (model.predict, model.vision.batch):
        with pytest.raises(ImageError, match=expected):
            call(images)


def test_a_graph_is_no_image(model: ImageClassificationModel) -> None:
    graph = model.vision(torch.rand(28, 28))
    for call in (model.predict, model.vision.batch):
        with pytest.raises(
            ImageError, match=r"images: expected a tensor, a NumPy array or a sequence .*, got ImageGraph"
        ):
            call(graph)


def test_labels_say_how_many_there_are() -> None:
    """pytorch/examples#134: a last batch of three is no image in colour."""
    model = ImageClassificationModel.from_preset("tiny", 3)
    images = torch.rand(3, 28, 28)
    assert model.vision.batch(images, [0, 1, 2]).num_graphs == 3
    fit(model, images, [0, 1, 2], settings=TrainingSettings(epochs=1), verbose=False)
    # And what is cut from more images for one pass is not asked again.
    assert len(model.predict(torch.rand(7, 28, 28), batch_size=4).labels) == 7
