from pathlib import Path

import pytest
import torch

from grapheme_pyg import ImageClassificationModel, VisionBrain
from grapheme_pyg.presets import PRESETS, default_widths
from grapheme_pyg.vision.finder import FINDERS
from grapheme_pyg.vision.grid import GridFinder

every = pytest.mark.parametrize("preset", ["tiny", "mini", "small", "base"])


def count(model: ImageClassificationModel) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def test_names() -> None:
    assert list(PRESETS) == ["tiny", "mini", "small", "base"]


WEIGHTS = {"tiny": 4_933, "mini": 9_801, "small": 19_889, "base": 351_425}


@pytest.mark.parametrize(("preset", "weights"), WEIGHTS.items())
def test_weights(preset: str, weights: int) -> None:
    assert count(ImageClassificationModel.from_preset(preset)) == weights


def test_weights_of_the_tiny_one_by_hand() -> None:
    # Rounds (3, 2, 1) of widths 8, 10, 14; nine relations in each pair.
    edges = 9 * (8 * 8 + 8 * 8 + 8 * 10 + 10 * 10 + 10 * 14)
    features = 16 * 8 + 2 * 10 + 2 * 14  # of the first rounds: sixteen pixels; mean and spread
    norms = 2 * (3 * 8 + 2 * 10 + 14)
    projection, templates, temperature = 2 * 14 * 16, 10 * 16, 1
    assert edges + features + norms + projection + templates + temperature == 4_933


@every
@pytest.mark.parametrize("size", [(1, 1), (28, 28), (100, 60)])
def test_predicts_images_of_any_size(preset: str, size: tuple[int, int]) -> None:
    model = ImageClassificationModel.from_preset(preset)
    prediction = model.predict(torch.rand(2, *size))
    assert prediction.probabilities.shape == (2, 10)
    assert prediction.probabilities.isfinite().all()
    torch.testing.assert_close(prediction.probabilities.sum(dim=1), torch.ones(2))


@pytest.mark.parametrize("preset", ["tiny", "mini", "small"])
def test_digits_train_every_weight_of_the_small_ones(preset: str) -> None:
    model = ImageClassificationModel.from_preset(preset, norm="layer")
    logits = model(model.vision.batch(torch.rand(20, 28, 28)))
    torch.nn.functional.cross_entropy(logits, torch.arange(20) % 10).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        if name.startswith("dag.weight"):
            assert (parameter.grad.abs().sum(dim=(1, 2)) > 0).all(), name


@every
def test_differs_where_asked(preset: str) -> None:
    model = ImageClassificationModel.from_preset(
        preset, ["cat", "dog"], vision={"margin": 0, "in_channels": 3}, embedding_channels=5, norm=None
    )
    plain = ImageClassificationModel.from_preset(preset, vision={"in_channels": 3})
    assert model.classes == ["cat", "dog"]
    assert model.vision.config == plain.vision.config | {"margin": 0}
    assert model.config == plain.config | {"classes": ["cat", "dog"], "embedding_channels": 5, "norm": None}
    assert model.embed_images(torch.rand(1, 3, 9, 9)).shape == (1, 5)


def test_presets_stay_as_they_are() -> None:
    ImageClassificationModel.from_preset("tiny", vision={"extend": True}, hidden_channels=(2, 3, 4))
    assert count(ImageClassificationModel.from_preset("tiny")) == 4_933


def test_base_is_the_default() -> None:
    model, default = ImageClassificationModel.from_preset("base"), ImageClassificationModel(VisionBrain())
    assert model.config == default.config
    assert model.vision.config == default.vision.config


@pytest.mark.parametrize("preset", ["huge", "Tiny", ""])
def test_unknown(preset: str) -> None:
    with pytest.raises(
        ValueError, match=rf"preset: expected one of \('tiny', 'mini', 'small', 'base'\), got '{preset}'"
    ):
        ImageClassificationModel.from_preset(preset)


def test_bad_differences() -> None:
    with pytest.raises(ValueError, match="hidden_channels: expected 3 positive integers"):
        ImageClassificationModel.from_preset("tiny", hidden_channels=(8, 8))
    with pytest.raises(ValueError, match="margin: expected a non-negative integer"):
        ImageClassificationModel.from_preset("tiny", vision={"margin": -1})


def test_widths_by_level() -> None:
    assert default_widths("grid", 1, 1) == (32,)
    assert default_widths("grid", 3, 5) == (48, 96, 192, 192, 192)


def test_a_mode_of_the_users_own_has_no_default_widths(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FINDERS, "tiles", GridFinder)
    vision = VisionBrain("tiles", rounds=(1, 2))
    with pytest.raises(ValueError, match=r"hidden_channels: expected 2 positive integers, .* mode 'tiles' .* got None"):
        ImageClassificationModel(vision)
    assert ImageClassificationModel(vision, hidden_channels=(3, 4)).config["hidden_channels"] == [3, 4]


@every
def test_saved_and_loaded(preset: str, tmp_path: Path) -> None:
    model, images = ImageClassificationModel.from_preset(preset), torch.rand(4, 28, 28)
    model.save_pretrained(tmp_path)
    loaded = ImageClassificationModel.from_pretrained(tmp_path)
    assert loaded.vision.config == model.vision.config
    assert torch.equal(loaded.predict(images).similarities, model.predict(images).similarities)
