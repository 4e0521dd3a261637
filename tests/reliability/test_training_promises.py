"""Training on odd sets of images stays finite, and long training takes no more memory and no more files."""

import math
import warnings
from pathlib import Path
from statistics import median

import pytest
import torch
from cases import SEEDS, call, cases
from hypothesis import given
from made_graphs import MODES
from torch import Generator, Tensor

from grapheme_pyg import ImageClassificationModel, TrainingSettings, VisionBrain, fit
from grapheme_pyg.datasets import Split
from grapheme_pyg.errors import ImageWarning, TrainingWarning
from grapheme_pyg.training.lost_classes import coinciding_classes

KINDS = ("blank", "one label", "one class", "imbalanced", "one image", "copies")
STEPS_IN_EPOCH, BATCH_SIZE = 20, 4


def images_of(number: int, generator: Generator) -> Tensor:
    """Images of 4 × 4 blocks."""
    blocks = torch.randint(256, (number, 4, 4), dtype=torch.uint8, generator=generator)
    return blocks.repeat_interleave(3, dim=1).repeat_interleave(3, dim=2)


def training_set(kind: str, generator: Generator) -> Split:
    """Images and labels of a kind, of which there are 4 classes; 1 for ``"one class"``."""
    number = {"one image": 1, "imbalanced": 101}.get(kind, 9)
    images, labels = images_of(min(number, 9), generator), torch.arange(number) % 3
    if kind == "blank":
        images = torch.full_like(images, int(torch.randint(256, (), generator=generator)))
    elif kind == "copies":
        images = images[:1].expand_as(images)
    elif kind == "imbalanced":
        images, labels = images[torch.arange(number) % 9], (torch.arange(number) == number - 1).long()
    elif kind.startswith("one "):
        labels = torch.full_like(labels, 3 if kind == "one label" else 0)
    return Split(images, labels)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mode", [MODES[0], *(pytest.param(mode, marks=pytest.mark.slow) for mode in MODES[1:])])
@cases(1)
@given(seed=SEEDS)
def test_odd_sets(mode: str, kind: str, seed: int) -> None:
    split, vision = training_set(kind, Generator().manual_seed(seed)), VisionBrain(mode)
    model = ImageClassificationModel(
        vision,
        1 if kind == "one class" else 4,
        hidden_channels=[4] * (max(vision.node_levels) + 1),
        norm=("batch", "layer")[seed % 2],
        template_update=("gradient", "momentum")[seed // 2 % 2],
        templates_per_class=2,
    )
    settings = TrainingSettings(
        epochs=2,
        batch_size=25 if kind == "imbalanced" else (1, 4)[seed // 4 % 2],
        loss="structural" if seed // 8 % 2 and kind != "one class" else "cross_entropy",
        optimizer=("muon", "adamw")[seed // 16 % 2],
        precision=("bf16-mixed", "32-true")[seed // 32 % 2],
        augment=seed // 64 % 2 == 0,
        device="cpu",
    )
    few = Split(split.images[-9:], split.labels[-9:])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TrainingWarning)  # of classes that are never recognised: there are such
        warnings.simplefilter("ignore", ImageWarning)  # of images that are nearly black
        metrics = fit(model, *split, validation=few, settings=settings, verbose=False)
        model.remember(*few)
        model.calibrate(*few)
        prediction = model.predict(few.images, reject=0.1, views=2)
    assert all(math.isfinite(value) for row in metrics for value in row.values())
    values = {**model.state_dict(), **prediction._asdict()}
    assert not [name for name, value in values.items() if isinstance(value, Tensor) and not value.isfinite().all()]


def use_of_process() -> tuple[int, int]:
    """Memory in kB, of which that which several share counts in parts, and open files."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    memory = next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return memory, len(list(Path("/proc/self/fd").iterdir()))


def train_for(epochs: int, run_dir: Path, leak: int = 0) -> list[tuple[int, int]]:
    """What is used at the last step of each epoch, with validation and a checkpoint after each."""
    number = STEPS_IN_EPOCH * BATCH_SIZE
    images, labels = images_of(number, Generator().manual_seed(0)), torch.arange(number) % 4
    model, found, leaked = ImageClassificationModel.from_preset("tiny", 4), [], []
    steps = 0

    def count(module: torch.nn.Module, *_: object) -> None:
        nonlocal steps
        if module.training:
            steps += 1
            if leak:  # empty tensors take memory, too
                leaked.append(torch.ones(leak))
            if steps % STEPS_IN_EPOCH == 0:
                found.append(use_of_process())

    model.dag.register_forward_pre_hook(count)
    settings = TrainingSettings(epochs=epochs, batch_size=BATCH_SIZE, device="cpu")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TrainingWarning)  # labels mean nothing here
        few = images[:8], labels[:8]
        fit(model, images, labels, validation=few, settings=settings, run_dir=run_dir, verbose=False)
    return found


def check_use(found: list[tuple[int, int]]) -> None:
    """After a fifth of the epochs neither memory, but for two hundredths, nor the number of open files grows."""
    kept = found[len(found) // 5 :]
    first, last = (median(memory for memory, _ in part) for part in (kept[:5], kept[-5:]))
    assert last < 1.02 * first, f"expected memory to stay, got {first} kB and then {last} kB"
    assert len({files for _, files in kept}) == 1, f"expected a constant number of open files, got {kept}"


@pytest.mark.slow
@cases(1)
@given(epochs=SEEDS.map(lambda seed: 50 + seed % 50))
def test_long_training_takes_no_more(epochs: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    check_use(train_for(epochs, tmp_path_factory.mktemp("long")))


@pytest.mark.slow
def test_a_leak_is_noticed(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="expected memory to stay"):
        check_use(train_for(25, tmp_path, leak=100_000))
    with pytest.raises(AssertionError, match="expected a constant number of open files"):
        check_use([(1000, 4), (1000, 4), (1000, 4), (1000, 4), (1000, 4), (1000, 5)])


def test_many_classes_whose_templates_are_equal() -> None:
    # 64 million pairs of templates are two million of classes, at 16 bytes.
    made = call(lambda: coinciding_classes(torch.ones(2000, 4, 8)))
    assert len(made.result) == 2000 * 1999 / 2
    assert made.mib < 300
