"""Everything that depends on the device, on a GPU, where there is one."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from grapheme_pyg import ImageClassificationModel, TrainingSettings, VisionBrain, explain, fit
from grapheme_pyg.errors import GraphError

pytestmark = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
    # Of a few steps, after which some classes are not recognised yet.
    pytest.mark.filterwarnings("ignore::grapheme_pyg.errors.TrainingWarning"),
]
DEVICE, CLASSES = "cuda", ["a", "b", "c"]


@pytest.fixture
def images() -> Tensor:
    """Bars of random places, lengths and levels."""
    images = torch.zeros(48, 28, 28, dtype=torch.uint8)
    for number, image in enumerate(images):
        top, left, length = torch.randint(3, 12, (3,)).tolist()
        level = int(torch.randint(100, 256, ()))
        image[top : top + length, left : left + 3] = level
        if number % 3 > 0:
            image[top : top + 3, left : left + length] = level
        if number % 3 > 1:
            image[top + length : top + length + 3, left : left + length] = level
    return images


@pytest.fixture
def labels() -> Tensor:
    """Their classes, one after the other."""
    return torch.arange(48) % 3


def make(mode: str = "grid", **options: object) -> ImageClassificationModel:
    torch.manual_seed(0)
    return ImageClassificationModel(VisionBrain(mode), CLASSES, dropout=0, **options)


@pytest.mark.parametrize("mode", ["grid", "blob", "superpixel", "hybrid"])
@pytest.mark.parametrize("readout", ["levels", "sinks"])
def test_answers_and_gradients_are_those_of_the_cpu(images: Tensor, mode: str, readout: str) -> None:
    found = []
    for device in ("cpu", DEVICE):
        model = make(mode, readout=readout).to(device, torch.float64)
        batch = model.vision.batch(images).to(device)
        logits = model(batch)
        logits.square().sum().backward()
        gradients = {name: weight.grad.cpu() for name, weight in model.named_parameters() if weight.grad is not None}
        found.append({"logits": logits.detach().cpu()} | gradients)
    torch.testing.assert_close(found[1], found[0], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("loader", ["images", "pyg"])
@pytest.mark.parametrize("template_update", ["gradient", "momentum"])
def test_training_is_that_of_the_cpu(images: Tensor, labels: Tensor, loader: str, template_update: str) -> None:
    histories = []
    for device in ("cpu", DEVICE):
        model = make(template_update=template_update)
        settings = TrainingSettings(epochs=2, batch_size=16, precision="64-true", device=device, loader=loader)
        histories.append(fit(model, images, labels, validation=(images, labels), settings=settings, verbose=False))
        assert {weight.device.type for weight in model.parameters()} == {"cpu"}
    for ours, theirs in zip(*histories, strict=True):
        for name in ("train_loss", "val_loss", "val_accuracy"):
            assert ours[name] == pytest.approx(theirs[name], rel=1e-6)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "16-mixed"])
@pytest.mark.parametrize("norm", ["batch", "layer"])
def test_all_precisions_learn(images: Tensor, labels: Tensor, precision: str, norm: str) -> None:
    model = make(norm=norm)
    settings = TrainingSettings(epochs=15, batch_size=16, precision=precision, device=DEVICE, augment=False)
    history = fit(model, images, labels, settings=settings, verbose=False)
    assert history[-1]["train_loss"] < 0.5 * history[0]["train_loss"]


class Stopped(Exception):  # noqa: N818
    pass


def stop(*_: object) -> None:
    raise Stopped


def test_resume(images: Tensor, labels: Tensor, tmp_path: Path) -> None:
    data = images, labels
    settings = TrainingSettings(epochs=2, batch_size=16, precision="64-true", checkpoint_every=1, device=DEVICE)
    whole = fit(make(), *data, settings=settings, verbose=False)
    run = {"settings": settings, "run_dir": tmp_path, "verbose": False}
    with pytest.raises(Stopped):
        fit(make(), *data, **run, on_epoch_end=stop)
    resumed = fit(make(), *data, **run, resume=True)
    assert [row["train_loss"] for row in resumed] == pytest.approx([row["train_loss"] for row in whole], rel=1e-6)


def test_a_model_on_a_gpu_predicts_remembers_explains_and_is_saved(
    images: Tensor, labels: Tensor, tmp_path: Path
) -> None:
    model = make()
    settings = TrainingSettings(epochs=4, batch_size=16, device="cpu")
    fit(model, images, labels, settings=settings, verbose=False)
    expected = model.predict(images)
    model.to(DEVICE)
    model.remember(images, labels)
    model.calibrate(images, labels)
    model.add_class("d", images[:4])
    found = model.predict(images, reject=0.1)
    torch.testing.assert_close(found.similarities[:, :3], expected.similarities, rtol=1e-3, atol=1e-4)
    assert found.familiarity is not None
    assert not found.familiarity.is_cuda
    assert model.embed_images(images).device.type == "cpu"
    assert model.nearest(images[:2], 3)[0].device.type == "cpu"
    assert explain(model, images[0]).edges.isfinite().all()
    model.save_pretrained(tmp_path)
    again = ImageClassificationModel.from_pretrained(tmp_path)
    assert again.classes == [*CLASSES, "d"]
    torch.testing.assert_close(again.predict(images).similarities, found.similarities, rtol=1e-3, atol=1e-4)


def test_a_graph_on_the_cpu_is_refused(images: Tensor) -> None:
    model = make().to(DEVICE)
    with pytest.raises(GraphError, match="expected device cuda:0, like the weights, got cpu"):
        model(model.vision.batch(images))
