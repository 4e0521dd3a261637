"""Memory follows the pixels that are looked at together, not the number of pictures."""

import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from grapheme_pyg import ImageClassificationModel, TrainingSettings, VisionBrain, fit
from grapheme_pyg.augmentation import RandomWarp
from grapheme_pyg.cli import main
from grapheme_pyg.vision.image_batches import in_batches

MEGABYTES = 1024
# From /proc, since what `getrusage` says begins with the peak of the process that started this one.
PEAK = "import re, sys; from grapheme_pyg.cli import main; code = main(sys.argv[1:]); "
PEAK += r"print(re.search(r'VmHWM:\s+(\d+)', open('/proc/self/status').read())[1], file=sys.stderr); sys.exit(code)"


@pytest.fixture
def images() -> list[Tensor]:
    sizes = [(20, 30), (20, 30), (40, 40), (8, 8), (60, 50), (20, 30)]
    return [torch.randint(256, (1, *size), dtype=torch.uint8) for size in sizes]


def seen(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Images and pixels of each batch whose graphs are made."""
    batches = []
    batch = VisionBrain.batch

    def watched(self, images, y=None):
        batches.append((len(images), sum(image.shape[-2] * image.shape[-1] for image in images)))
        return batch(self, images, y)

    monkeypatch.setattr(VisionBrain, "batch", watched)
    return batches


def test_batches_within_a_budget_of_pixels(images: list[Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
    """mbaza#78."""
    model = ImageClassificationModel.from_preset("tiny", 2).eval()
    expected = model.predict(images).probabilities
    monkeypatch.setattr("grapheme_pyg.vision.image_batches.PIXELS_AT_ONCE", 2000)
    batches = seen(monkeypatch)
    torch.testing.assert_close(model.predict(images).probabilities, expected)
    # 600 + 600 fit, 1,600 + 64 do, 3,000 is alone, 600 is left.
    assert batches == [(2, 1200), (2, 1664), (1, 3000), (1, 600)]
    batches.clear()
    same = torch.stack([images[0]] * 7)
    for call in (model.predict, model.embed_images, lambda it: model.remember(it, [0, 1] * 3 + [0])):
        call(same)
    assert batches == 3 * [(3, 1800), (3, 1800), (1, 600)]
    batches.clear()
    model.predict(same, batch_size=2)
    assert [number for number, _ in batches] == [2, 2, 2, 1]


def test_batches_within_a_budget_of_nodes(images: list[Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
    """mbaza#78: small cells make many nodes of few pixels."""
    model = ImageClassificationModel(VisionBrain(patch_size=1, relative=False), 2).eval()
    expected = model.predict(images).probabilities
    monkeypatch.setattr("grapheme_pyg.image_pooling.NODES_AT_ONCE", 6000)
    nodes, pool = [], ImageClassificationModel.pool
    monkeypatch.setattr(
        ImageClassificationModel,
        "pool",
        lambda self, batch: nodes.append((batch.num_graphs, batch.num_nodes)) or pool(self, batch),
    )
    torch.testing.assert_close(model.predict(images).probabilities, expected)
    assert len(nodes) > 1
    assert all(number <= 6000 or graphs == 1 for graphs, number in nodes)


def test_a_tensor_of_photographs_is_resized_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """mbaza#78: what is held before resizing counts, not only what is left of it."""
    monkeypatch.setattr("grapheme_pyg.vision.image_batches.PIXELS_AT_ONCE", 4000)
    photographs = torch.zeros(7, 40, 30, dtype=torch.uint8)
    assert [positions for positions, _ in in_batches(photographs, 1, 64, size=4)] == [[0, 1, 2], [3, 4, 5], [6]]
    # Enlarged ones count by what they become.
    assert [len(positions) for positions, _ in in_batches(photographs[:4], 1, 64, size=80)] == [1, 1, 1, 1]


def test_images_of_a_sequence_are_asked_for_one_by_one_and_brought_to_a_size(images: list[Tensor]) -> None:
    """MegaDetector#28."""
    asked = []

    class Lazy(list):
        def __getitem__(self, index):
            asked.append(index)
            return super().__getitem__(index)

    batches = in_batches(Lazy(images), 1, 2, size=10)
    positions, first = next(batches)
    assert (positions, asked) == ([0, 1], [0, 1, 2])
    assert [max(image.shape) for image in first] == [10, 10]
    assert [positions for positions, _ in batches] == [[2, 3], [4, 5]]


@pytest.mark.filterwarnings("ignore::grapheme_pyg.errors.TrainingWarning")
@pytest.mark.parametrize("kind", [list, torch.stack], ids=["sequence", "tensor"])
def test_training_looks_at_images_in_the_size_of_the_model(kind, monkeypatch: pytest.MonkeyPatch) -> None:
    """mbaza#78: a batch of photographs would be held and bent in their own size."""
    bent, call = [], RandomWarp.__call__
    monkeypatch.setattr(
        RandomWarp, "__call__", lambda self, images, *maps: bent.append(images.shape[-2:]) or call(self, images, *maps)
    )
    images = kind([torch.randint(256, (90, 60), dtype=torch.uint8) for _ in range(4)])
    model = ImageClassificationModel.from_preset("tiny", 2, vision={"resize": 30})
    fit(model, images, [0, 1, 0, 1], settings=TrainingSettings(epochs=1, batch_size=2), verbose=False)
    assert set(bent) == {(30, 20)}


# Four images teach nothing.
@pytest.mark.filterwarnings("ignore::grapheme_pyg.errors.TrainingWarning")
def test_training_adds_up_the_gradients_of_parts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """mbaza#78."""
    images, labels = torch.randint(256, (8, 20, 20), dtype=torch.uint8), [0, 1] * 4
    settings = TrainingSettings(epochs=1, batch_size=8, augment=False)

    def trained() -> list[Tensor]:
        torch.manual_seed(0)
        # Statistics of layers and no dropout: then parts are as good as the whole.
        model = ImageClassificationModel.from_preset("tiny", 2, norm="layer", dropout=0.0).double()
        fit(model, images, labels, validation=(images, labels), settings=settings, verbose=True)
        return [parameter.detach() for parameter in model.parameters()]

    expected = trained()
    assert "images are large" not in capsys.readouterr().out
    monkeypatch.setattr(import_module("grapheme_pyg.training.data"), "PIXELS_AT_ONCE", 1300)
    batches = seen(monkeypatch)
    found = trained()
    assert "images are large: each step adds up the gradients of 3 parts of 3 images" in capsys.readouterr().out
    # A look at either set, with a budget of its own; then the parts of the only step, and those of validation.
    assert batches[2:8] == [(3, 1200), (3, 1200), (2, 800)] * 2
    for one, other in zip(found, expected, strict=True):
        # The last part has two images of three, which weigh a little more.
        torch.testing.assert_close(one, other, rtol=0.05, atol=0.02)


def test_a_trained_model_brings_pictures_to_the_size_of_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """mbaza#78: a photograph is no larger than what was trained on."""
    vision = []
    monkeypatch.setattr("grapheme_pyg.cli.train.train_run", lambda model, *_, **__: vision.append(model.vision))
    for name in ("a", "b"):
        for i in range(3):
            path = tmp_path / "p" / name / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", (300, 400)).save(path)
    run_dir = ("--run_dir", str(tmp_path / "r"))
    assert main(["train", str(tmp_path / "p"), *run_dir]) == 0
    assert main(["train", str(tmp_path / "p"), "--size", "50", *run_dir]) == 0
    assert main(["train", "mnist5k", "--no_test", *run_dir]) == 0
    assert [brain.resize for brain in vision] == [224, 50, 28]


@pytest.mark.slow
def test_two_hundred_photographs_of_twelve_megapixels(tmp_path: Path) -> None:
    """mbaza#78, MegaDetector#28: memory grew by more than a gigabyte for each."""
    torch.manual_seed(0)
    ImageClassificationModel.from_preset("tiny", 2, vision={"resize": 224}).save_pretrained(tmp_path / "model")
    photos = tmp_path / "photos"
    photos.mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (375, 500, 3), dtype=np.uint8)
    Image.fromarray(noise).resize((4000, 3000)).save(photos / "000.jpg", quality=85)
    for i in range(1, 200):
        os.link(photos / "000.jpg", photos / f"{i:03}.jpg")
    command = [sys.executable, "-c", PEAK, "predict", tmp_path / "model", photos, "--csv", tmp_path / "out.csv"]
    found = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    assert len((tmp_path / "out.csv").read_text().splitlines()) == 201
    assert int(found.stderr.splitlines()[-1]) < 1500 * MEGABYTES
