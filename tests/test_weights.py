"""Models that come with the package."""

import logging
import shutil
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from grapheme_pyg import ImageClassificationModel, list_presets, list_pretrained
from grapheme_pyg.datasets import Split
from grapheme_pyg.weights import FOLDER

MOST_BYTES = 6_000_000
# Least share of the sample that is right: what the card says of the test set, less three deviations of such a sample.
DIGITS = {"mnist-base": 0.99, "mnist-small": 0.985, "mnist-tiny": 0.98}


def test_names() -> None:
    assert list_pretrained() == sorted(path.name for path in FOLDER.iterdir() if (path / "config.json").exists())
    assert set(DIGITS) <= set(list_pretrained())
    assert list_presets() == ["tiny", "mini", "small", "base"]


def test_they_are_small_and_have_cards() -> None:
    sizes = [file.stat().st_size for name in list_pretrained() for file in (FOLDER / name).iterdir()]
    assert sum(sizes) <= MOST_BYTES
    for name in list_pretrained():
        card = (FOLDER / name / "README.md").read_text()
        for part in ("Data", "Licence of the weights", "Made by", "Accuracy", "Limits"):
            assert f"**{part}:**" in card, (name, part)


@pytest.mark.parametrize("name", DIGITS)
def test_digits(name: str, digits: tuple[Split, Split]) -> None:
    model = ImageClassificationModel.from_pretrained(name)
    images, labels = (tensor[:1000] for tensor in digits[1])
    prediction = model.predict(images, reject=0.02)
    assert (prediction.probabilities.argmax(dim=1) == labels).float().mean() >= DIGITS[name]
    assert prediction.labels.count(None) <= 0.06 * len(labels)
    # Paper and pencil, and what is no digit.
    assert model.predict(255 - images[:50]).labels == model.predict(images[:50]).labels
    halves = images[:100].clone()
    halves[:, 14:] = images[100:200, :14].flip(1)
    assert model.predict(halves, reject=0.02).labels.count(None) > 50


# A 9 may look like a 7.
@pytest.mark.filterwarnings("ignore::grapheme_pyg.errors.TrainingWarning")
def test_symbols_from_few_examples(digits: tuple[Split, Split]) -> None:
    # Digits, of which the encoder has seen none, from five examples each.
    model = ImageClassificationModel.from_pretrained("symbols")
    assert model.classes == []
    images, labels = digits[0]
    for digit in range(10):
        model.add_class(str(digit), images[labels == digit][:5])
    others, truth = (tensor[-500:] for tensor in digits[0])
    found = model.predict(others)
    right = sum(label == str(int(digit)) for label, digit in zip(found.labels, truth, strict=True))
    assert right >= 0.85 * len(truth)


def test_a_folder_of_that_name_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(FOLDER / "mnist-tiny", tmp_path / "mnist-base")
    with caplog.at_level(logging.WARNING):
        model = ImageClassificationModel.from_pretrained("mnist-base")
    assert sum(weight.numel() for weight in model.parameters()) == 4_933
    assert "mnist-base: the folder of that name is taken" in caplog.text
    expected = f"folder: expected a folder of a model or one of {', '.join(list_pretrained())}, got 'mnist-huge'"
    with pytest.raises(FileNotFoundError, match=f"^{expected}$"):
        ImageClassificationModel.from_pretrained("mnist-huge")


def test_drawings_on_sheets_are_taught_as_they_are_predicted() -> None:
    model = ImageClassificationModel.from_pretrained("mnist-tiny").with_classes([])
    assert model.drawings
    sheet = Image.new("L", (400, 300), 230)
    ImageDraw.Draw(sheet).line([(60, 40), (60, 120), (110, 120)], fill=40, width=8)
    model.add_class("corner", [sheet])
    assert (
        model.predict([sheet.rotate(4, fillcolor=230), sheet.resize((200, 150))], reject=0.01).labels == ["corner"] * 2
    )
    with pytest.raises(ValueError, match="images: expected a drawing on each, got blank at position 1"):
        model.add_class("corner", [sheet, Image.new("L", (400, 300), 230)])
