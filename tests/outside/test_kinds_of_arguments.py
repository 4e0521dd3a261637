"""``fit`` takes what ``predict`` takes, labels of every kind, NumPy's numbers; the rest gets our own errors."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from grapheme_pyg import ImageClassificationModel, TrainingSettings, VisionBrain, explain, fit
from grapheme_pyg.datasets import ImageDataset, load_idx_folder, load_image_folder, read_image
from grapheme_pyg.evaluation import evaluate
from grapheme_pyg.labels import to_labels, to_names

# Twelve images teach nothing.
pytestmark = pytest.mark.filterwarnings("ignore::grapheme_pyg.errors.TrainingWarning")

IMAGES = torch.randint(256, (12, 1, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(12) % 3
CLASSES = ["cat", "dog", "eel"]
# The same images in every kind; levels are exact in all of them.
KINDS: dict[str, Any] = {
    "uint8": IMAGES,
    "uint8 [N, H, W]": IMAGES[:, 0],
    "PIL": [Image.fromarray(image.numpy()) for image in IMAGES[:, 0]],
    "array": IMAGES[:, 0].numpy(),
    "array with channels": IMAGES.movedim(1, -1).numpy(),
    "list of arrays": list(IMAGES[:, 0].numpy()),
    "tuple of tensors": tuple(IMAGES),
    "floats": IMAGES.double() / 255,
    "floats of an array": (IMAGES[:, 0] / 255).numpy(),
    "strided": IMAGES[:, 0].repeat_interleave(2, dim=0)[::2],
    "Fortran's order": np.asfortranarray(IMAGES[:, 0].numpy()),
}
LABEL_KINDS: dict[str, Any] = {
    "list": LABELS.tolist(),
    "tuple": tuple(LABELS.tolist()),
    **{
        f"array of {kind}": LABELS.numpy().astype(kind) for kind in ("uint8", "int8", "int16", "uint32", "uint64", "f4")
    },
    **{str(kind): LABELS.to(kind) for kind in (torch.uint8, torch.int32, torch.float64)},
    "list of tensors": list(LABELS),
    "list of NumPy's": list(LABELS.numpy()),
    "column": torch.randint(9, (12, 5)).index_copy_(1, torch.tensor([2]), LABELS[:, None])[:, 2],
    "column of an array": np.stack([LABELS.numpy(), LABELS.numpy()], axis=1)[:, 1],
    "[N, 1]": LABELS[:, None],
    "objects": LABELS.numpy().astype(object),
    "names": [CLASSES[i] for i in LABELS],
    "array of names": np.array(CLASSES)[LABELS.numpy()],
}


def trained(images: Any, labels: Any, **options: Any) -> Tensor:
    torch.manual_seed(0)
    model = ImageClassificationModel.from_preset("tiny", CLASSES)
    settings = TrainingSettings(epochs=1, batch_size=4)
    fit(model, images, labels, validation=(images, labels), settings=settings, verbose=False, **options)
    return model.classifier.templates.detach()


@pytest.fixture(scope="module")
def expected() -> Tensor:
    return trained(IMAGES, LABELS)


@pytest.mark.parametrize("images", KINDS.values(), ids=KINDS)
def test_fit_takes_what_predict_takes(images: Any, expected: Tensor) -> None:
    """pytorch#22566, and what other tools are asked for: PIL images, arrays, floats."""
    torch.testing.assert_close(trained(images, LABELS), expected)


@pytest.mark.parametrize("labels", LABEL_KINDS.values(), ids=LABEL_KINDS)
def test_labels_of_every_kind(labels: Any) -> None:
    """Kaggle's train.csv: a column of a table raised BufferError."""
    found = to_labels(labels, 12, classes=CLASSES)
    assert (found.dtype, found.is_contiguous()) == (torch.int64, True)
    assert torch.equal(found, LABELS)


@pytest.mark.parametrize("name", ["column", "column of an array", "names", "list"])
def test_training_on_them(name: str, expected: Tensor, tmp_path: Path) -> None:
    """Kaggle's train.csv."""
    assert torch.equal(trained(IMAGES, LABEL_KINDS[name], run_dir=tmp_path), expected)
    assert ImageDataset(IMAGES, LABELS.repeat_interleave(2)[::2]).labels.tolist() == LABELS.tolist()


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 1], r"labels: expected integers or names of classes of shape \[12\], got .* \[2\]"),
        ([0, 1.5] * 6, "labels: .* got 1.5 at position 1"),
        ([0, 3] * 6, r"labels: expected values in \[0, 3\), got 3 at position 1"),
        (["cat", "cow"] * 6, r"labels: expected names of classes, \['cat', 'dog', 'eel'\], got 'cow' at position 1"),
        ([0, None] * 6, "labels: expected integers or names of classes, got object"),
        ([[0], [1, 2]], "labels: expected one label for each image, got list"),
        ("cat", "labels: expected one label for each image, got str"),
        ({"cat": 0}, "labels: expected one label for each image, got dict"),
        (None, "labels: expected integers or names of classes, got object"),
        (LABELS.to(torch.complex64), "labels: .* got torch.complex64"),
    ],
    ids=str,
)
def test_labels_of_other_kinds_are_refused(labels: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        to_labels(labels, 12, classes=CLASSES)


@pytest.mark.parametrize(
    ("classes", "names"),
    [
        (np.int64(3), ["0", "1", "2"]),
        (np.array(CLASSES), CLASSES),
        (tuple(CLASSES), CLASSES),
        (np.arange(2), ["0", "1"]),
        (range(2), ["0", "1"]),
    ],
    ids=str,
)
def test_classes_of_every_kind(classes: Any, names: list[str], tmp_path: Path) -> None:
    """datasets' Column, le.classes_, y.max() + 1."""
    model = ImageClassificationModel.from_preset("tiny", classes)
    assert model.classes == names
    model.save_pretrained(tmp_path)
    assert ImageClassificationModel.from_pretrained(tmp_path).classes == names


@pytest.mark.parametrize(
    "classes", [0, -1, True, None, "cat", [], ["a", "a"], {"a": 0}, frozenset({"a"}), 2.0], ids=str
)
def test_classes_of_other_kinds_are_refused(classes: Any) -> None:
    with pytest.raises(ValueError, match="classes: expected a positive integer or distinct names, got"):
        to_names(classes)


def test_numbers_of_numpy(tmp_path: Path) -> None:
    """datasets' Column, y.max() + 1."""
    vision = VisionBrain(in_channels=np.int64(1), resize=np.int32(28), patch_size=np.int64(4), rounds=np.array([2, 1]))
    assert vision == VisionBrain(resize=28, patch_size=4, rounds=(2, 1))
    model = ImageClassificationModel(
        vision,
        3,
        hidden_channels=np.array([4, 4]).tolist(),
        embedding_channels=np.int16(8),
        templates_per_class=np.int8(1),
    )
    model.save_pretrained(tmp_path)
    settings = TrainingSettings(epochs=np.int64(1), lr=np.float32(0.5), seed=np.uint8(1))
    assert settings == TrainingSettings(epochs=1, lr=0.5, seed=1)
    assert {type(value) for value in (settings.epochs, settings.lr, settings.seed)} == {int, float}
    assert explain(model, IMAGES[0], target=np.int64(1)).target == 1
    assert len(model.predict(IMAGES, np.int64(5)).labels) == 12


def test_measures_of_arrays() -> None:
    found = evaluate(np.array([[0.8, 0.2], [0.6, 0.4]]), np.array([0, 1]))
    assert (found.accuracy, found.num_mistakes) == (0.5, 1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda model: TrainingSettings(lr="0.1"), "lr: expected a positive number, got '0.1'"),
        (lambda model: TrainingSettings(epochs=2.5), "epochs: expected a positive integer, got 2.5"),
        (lambda model: TrainingSettings(augment="no"), "augment: expected True or False, got 'no'"),
        (lambda model: TrainingSettings(flip="no"), r"flip: expected a number in \[0, 1\], got 'no'"),
        (lambda model: model.predict(IMAGES, 2.5), "batch_size: expected a positive integer, got 2.5"),
        (lambda model: model.predict(IMAGES, views="2"), "views: expected an integer in 1…9, got '2'"),
        (lambda model: explain(model, IMAGES[0], target=3), "target: expected an integer in 0…2, got 3"),
        (lambda model: explain(model, IMAGES[0], target="cat"), "target: expected an integer in 0…2, got 'cat'"),
        (lambda model: evaluate(np.eye(3), "abc"), "labels: expected one label for each image, got str"),
        (lambda model: evaluate(np.eye(3), np.arange(3), hardest=1.0), "hardest: expected a non-negative integer"),
        (lambda model: fit(model, IMAGES, LABELS, settings={}), "settings: expected TrainingSettings, got {}"),
        (
            lambda model: fit(model, IMAGES, LABELS, validation=IMAGES),
            "validation: expected a pair of images and labels, got Ten",
        ),
        (
            lambda model: fit(model, IMAGES, LABELS, validation=()),
            "validation: expected a pair of images and labels, got tuple",
        ),
        (lambda model: model.predict(IMAGES, reject="x"), r"reject: expected a number in \[0, 1\), got 'x'"),
        (lambda model: TrainingSettings(loss=np.zeros(3)), "loss: expected one of"),
        (lambda model: VisionBrain([]), "mode: expected one of"),
        (lambda model: ImageClassificationModel.from_preset([]), "preset: expected one of"),
        (lambda model: evaluate(None, None), "probabilities: expected a tensor or an array, got NoneType"),
        (lambda model: model.predict(torch.zeros(28, 28)), r"images: .* got \(28, 28\); for one image, \[image\]"),
        (lambda model: model.predict(torch.tensor(3)), r"images: expected shape .* got \(\)"),
        (lambda model: load_image_folder(None), "folder: expected a path, got None"),
        (lambda model: load_image_folder(""), "folder: expected a path, got ''"),
        (lambda model: read_image(3), "path: expected a path, got 3"),
        (lambda model: load_idx_folder([]), r"folder: expected a path, got \[\]"),
        (lambda model: model.save_pretrained(None), "folder: expected a path, got None"),
        (lambda model: model.from_pretrained(1), "folder: expected a path, got 1"),
        (lambda model: fit(model, IMAGES, LABELS, run_dir=3), "run_dir: expected a path, got 3"),
        (lambda model: model.nearest(IMAGES), "memory: expected one, as fit leaves it, got none"),
    ],
)
def test_other_kinds_get_our_errors(call: Callable[[ImageClassificationModel], Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        call(ImageClassificationModel.from_preset("tiny", CLASSES).eval())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_training_in_half_precision_is_refused(dtype: torch.dtype) -> None:
    """TabPFN#284: gradients and statistics of so few bits learn nothing; autocast does."""
    model = ImageClassificationModel.from_preset("tiny", 3).to(dtype)
    with pytest.raises(ValueError, match=rf"model: expected weights in float32 or float64 .* got {dtype}"):
        fit(model, IMAGES, LABELS)
