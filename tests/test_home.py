"""What training images were like, and what a model says of others."""

import json
import warnings

import pytest
import torch
from torch import Tensor

from grapheme_pyg import ImageClassificationModel, TrainingSettings, VisionBrain, fit
from grapheme_pyg.errors import ImageWarning, ModelFileError
from grapheme_pyg.home import Home, measure

BARS = torch.arange(200) % 2


def bars(count: int = 200, side: int = 12, level: int = 255) -> Tensor:
    """Upright and level bars, two pixels wide, each at a place of its own."""
    images = torch.zeros(count, side, side, dtype=torch.uint8)
    for i, image in enumerate(images):
        place = 1 + i // 2 % (side - 4)
        (image if i % 2 else image.t())[place : place + 2, 1:-1] = level
    return images


def trained(**vision: object) -> ImageClassificationModel:
    torch.manual_seed(0)
    model = ImageClassificationModel(VisionBrain(**vision), ["upright", "level"], hidden_channels=(8, 8, 8))
    fit(model, bars(), BARS, settings=TrainingSettings(epochs=1, augment=False), verbose=False)
    return model


@pytest.fixture(scope="module")
def model() -> ImageClassificationModel:
    return trained(relative=False, resize=None)


def test_values_by_hand() -> None:
    # Half of the pixels are white: mean 127.5, deviation 127.5; all four cells of 2×2 pixels have contrast.
    image = torch.tensor([[0, 255, 0, 255]] * 4, dtype=torch.uint8)
    pixels = torch.stack([image, torch.full_like(image, 9)])[:, None]
    vision = VisionBrain(relative=False, resize=None)
    graphs = vision.batch(pixels)
    nodes = vision(image).num_nodes
    expected = torch.tensor([[4, 127.5, 127.5, nodes / 16, 0], [4, 9, 0, 1 / 16, 1]])
    torch.testing.assert_close(measure(pixels, graphs, vision), expected)
    torch.testing.assert_close(measure(list(pixels), graphs, vision), expected)
    relative = VisionBrain(resize=None)
    assert measure(pixels, relative.batch(pixels), relative)[:, 1:3].tolist() == [[0, 0], [0, 0]]


def test_home_is_what_was_seen() -> None:
    measured = torch.tensor([[28, 30, 60, 0.25, 0], [28, 0, 0, 0.01, 0], [20, 20, 50, 0.2, 0]])
    home = Home.of(measured)
    assert home == Home(False, (20, 28), (0, 30), (0, 60), (pytest.approx(0.01), 0.25))
    measured[1, -1] = 1
    assert Home.of(measured).blank


@pytest.mark.parametrize(
    ("images", "named"),
    [
        (255 - bars(), "mean level"),
        (bars(side=40), "longer side"),
        (200 + bars(level=40), "contrast"),
    ],
    ids=["ink", "size", "contrast"],
)
def test_it_is_told_when_images_are_far(model: ImageClassificationModel, images: Tensor, named: str) -> None:
    with pytest.warns(ImageWarning, match=f"like those of training, got others: .*{named}") as told:
        model.predict(images, batch_size=64)
    assert len(told) == 1
    assert told[0].filename == __file__


def test_numbers_of_nodes_may_be_far() -> None:
    home = Home.of(torch.tensor([[28, 0, 0, 0.2, 0], [28, 0, 0, 0.3, 0]]))
    crowded = torch.tensor([[28, 0, 0, 0.59, 0]] * 9 + [[28, 0, 0, 0.75, 0]])
    with pytest.warns(ImageWarning, match=r"nodes per pixel of 1 0\.75…0\.75 \(in training 0\.2…0\.3\)"):
        home.warn_if_far(crowded, stacklevel=1)
    # Of blank images, all else means nothing.
    home.warn_if_far(torch.tensor([[28, 0, 0, 0.001, 1]]), stacklevel=1)


def test_nothing_is_told_of_images_like_those_of_training(model: ImageClassificationModel) -> None:
    few = torch.cat([bars(), 255 - bars(19)])  # less than a tenth
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.predict(bars())
        model.predict(bars(1))
        model.predict(few)


def test_nothing_is_told_where_it_is_mended() -> None:
    model = trained()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.predict(255 - bars())
        model.predict(bars(side=24).repeat_interleave(2, 1).repeat_interleave(2, 2))


@pytest.mark.parametrize("relative", [False, True])
def test_blank_images_are_of_no_class(relative: bool) -> None:
    chosen = trained(relative=relative)
    blank = [torch.full((side, side), level, dtype=torch.uint8) for side in (1, 3, 12, 50) for level in (0, 77, 255)]
    prediction = chosen.predict([bars(1)[0], *blank])
    assert prediction.labels[0] is not None
    assert prediction.labels[1:] == [None] * 12
    assert prediction.probabilities[1:].tolist() == [[0.5, 0.5]] * 12
    assert prediction.confidences[1:].tolist() == [0.5] * 12


def test_blank_images_may_be_a_class() -> None:
    images, labels = bars(), BARS.clone()
    images[::4], labels[::4] = 0, 2
    model = ImageClassificationModel(VisionBrain(), 3, hidden_channels=(8, 8, 8))
    fit(model, images, labels, settings=TrainingSettings(epochs=1, augment=False), verbose=False)
    assert model.predict(images[:1]).labels[0] is not None


def test_it_is_saved_with_the_model(model: ImageClassificationModel, tmp_path) -> None:
    model.save_pretrained(tmp_path)
    assert ImageClassificationModel.from_pretrained(tmp_path).home == model.home
    assert model.with_classes(["a"]).home is None
    config = json.loads((tmp_path / "config.json").read_text())
    del config["settings_sha256"]  # as models of early versions
    home = config["home"]
    wrongs = [{}, {"blank": 1}]
    wrongs += [home | one for one in ({"contrast": [2, 1]}, {"contrast": [0, None]}, {"mirrored": 0}, {"new": False})]
    for wrong in wrongs:
        (tmp_path / "config.json").write_text(json.dumps(config | {"home": wrong}))
        with pytest.raises(ModelFileError, match="home"):
            ImageClassificationModel.from_pretrained(tmp_path)
    del home["mirrored"]  # as those that knew of no mirror images
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert ImageClassificationModel.from_pretrained(tmp_path).home == model.home
    del config["home"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert ImageClassificationModel.from_pretrained(tmp_path).home is None


def test_mirror_images_are_views_of_models_that_were_trained_on_them() -> None:
    model = ImageClassificationModel(VisionBrain(in_channels=3), ["upright", "level"], hidden_channels=(8, 8, 8))
    images = bars(20)[:, None].repeat(1, 3, 1, 1)
    fit(model, images, BARS[:20], settings=TrainingSettings(epochs=1), verbose=False)
    assert model.home.mirrored
    few = images[:4]
    alone = [model.predict(some, views=1).probabilities for some in (few, few.flip(-1))]
    for views in (None, 2):
        torch.testing.assert_close(model.predict(few, views=views).probabilities, sum(alone) / 2)
        torch.testing.assert_close(model.predict(list(few), views=views).probabilities, sum(alone) / 2)
    assert not torch.equal(alone[0], alone[1])
    with pytest.raises(ValueError, match="views: expected an integer in 1…18, got 19"):
        model.predict(few, views=19)
    fit(model, images, BARS[:20], settings=TrainingSettings(epochs=1, flip=0), verbose=False)
    assert not model.home.mirrored
    assert torch.equal(model.predict(few).probabilities, model.predict(few, views=1).probabilities)
