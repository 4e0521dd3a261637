"""Checkpoints from strangers: refused in one line, or trained on; the other one is tried; neither takes much."""

import random
import shutil
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from cases import MIB, SEEDS, TIMES, Call, call, cases
from checkpoint_mutations import SIGNED, UNSIGNED, larger, signed
from hypothesis import given

from grapheme_pyg import ImageClassificationModel, TrainingSettings, VisionBrain, fit
from grapheme_pyg.errors import CheckpointError, TrainingError, TrainingWarning
from grapheme_pyg.training.checkpoints import FOLDER, LAST, PREVIOUS

# Arguments of models and settings of trainings; every day the first two.
TRAININGS: tuple[tuple[dict[str, Any], dict[str, Any]], ...] = (
    ({}, {}),
    ({"norm": "layer"}, {"optimizer": "adamw", "averaging": 0.0, "accumulate": 2}),
    ({"template_update": "momentum", "templates_per_class": 2}, {"precision": "16-mixed"}),
    ({"readout": "sinks"}, {"precision": "64-true", "freeze": ("classifier",)}),
    ({"mode": "blob"}, {"loss": "structural", "class_weights": {"0": 2.0}}),
)
# Beside six times the size of the file: what Python and PyTorch take for objects and a training.
OBJECTS = 24.0
SECONDS = 10.0
# Of mutants; one of them is trained on, and without a look at what they hold one does harm.
SOME = range(11)
Fit = Callable[..., object]


class Stop(Exception):  # noqa: N818
    pass


@dataclass(frozen=True)
class Stopped:
    """A training that was stopped in its second epoch."""

    number: int
    last: bytes
    previous: bytes
    weights: dict[str, torch.Tensor]  # of one that was not

    def resume(self, folder: Path, function: Fit = fit) -> ImageClassificationModel:
        model, images, labels, settings = training(self.number)
        data = {"validation": (images, labels), "settings": replace(settings, checkpoint_every=0), "verbose": False}
        function(model, images, labels, run_dir=folder, resume=True, **data)
        return model


def training(number: int) -> tuple[ImageClassificationModel, torch.Tensor, torch.Tensor, TrainingSettings]:
    torch.manual_seed(0)
    arguments, given = TRAININGS[number]
    mode = arguments.get("mode", "grid")
    vision = VisionBrain(mode)
    widths = [4] * (max(vision.node_levels) + 1)
    others = {name: value for name, value in arguments.items() if name != "mode"}
    model = ImageClassificationModel(vision, 2, hidden_channels=widths, **others)
    images = torch.randint(256, (6, 12, 12), dtype=torch.uint8)
    plain = {"epochs": 2, "batch_size": 2, "device": "cpu", "checkpoint_every": 1}
    return model, images, torch.arange(6) % 2, TrainingSettings(**plain | given)


def tensors_of(model: ImageClassificationModel) -> dict[str, torch.Tensor]:
    return {name: value for name, value in model.state_dict().items() if isinstance(value, torch.Tensor)}


@cache
def stopped(number: int) -> Stopped:
    with tempfile.TemporaryDirectory() as name, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        folder, (model, images, labels, settings) = Path(name), training(number)
        passes = 0

        def stop(module: torch.nn.Module, *_: object) -> None:
            nonlocal passes
            passes += module.training
            if passes == 6:
                raise Stop

        hook = model.dag.register_forward_pre_hook(stop)
        data = {"validation": (images, labels), "settings": settings, "verbose": False}
        with pytest.raises(Stop):
            fit(model, images, labels, run_dir=folder, **data)
        hook.remove()
        last, previous = ((folder / FOLDER / path).read_bytes() for path in (LAST, PREVIOUS))
        whole = training(number)[0]
        fit(whole, images, labels, **data)
        found = Stopped(number, last, previous, tensors_of(whole))
        assert_equal(tensors_of(found.resume(folder)), found.weights)
        return found


def assert_equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one), "expected the bits of the whole training"


def resume(run: Stopped, last: bytes, previous: bytes | None, function: Fit = fit) -> tuple[Call, list[str], Path]:
    """What going on with two files gives and takes, and what was warned of."""
    folder = Path(tempfile.mkdtemp(dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
    try:
        (folder / FOLDER).mkdir()
        (folder / FOLDER / LAST).write_bytes(last)
        if previous is not None:
            (folder / FOLDER / PREVIOUS).write_bytes(previous)
        with warnings.catch_warnings(record=True) as came:
            warnings.simplefilter("always")
            made = call(lambda: run.resume(folder, function))
        said = [str(one.message) for one in came if "going on from" in str(one.message)]
        assert all(one.category is TrainingWarning for one in came if str(one.message) in said)
        return made, said, folder / FOLDER / LAST
    finally:
        shutil.rmtree(folder)


def check_mutant(seed: int, function: Fit = fit) -> bool:
    """Whether a training goes on from a damaged or hostile checkpoint, as from a whole one or one with its sum."""
    rng = random.Random(seed)
    run = stopped(rng.randrange(len(TRAININGS) if TIMES > 1 else 2))
    is_signed, has_other = rng.random() < 0.8, rng.random() < 0.3
    mutant = signed(rng.choice(SIGNED)(run.last, rng)) if is_signed else rng.choice(UNSIGNED)(run.last, rng)
    if mutant == run.last:
        return False
    made, said, path = resume(run, mutant, run.previous if has_other else None, function)
    made.require(seconds=SECONDS, mib=6 * len(mutant) / MIB + OBJECTS)
    if said:
        assert has_other
        assert len(said) == 1
        assert said[0].startswith(f"{path}: ")
        assert "\n" not in said[0]
        if made.error is not None:
            raise made.error
        assert_equal(tensors_of(made.result), run.weights)
        return False
    if type(made.error) is CheckpointError:
        assert not has_other, f"expected the other checkpoint to be tried, got {made.error}"
        assert str(made.error).startswith(f"{path}: "), f"expected an error that names the file, got {made.error}"
        assert "\n" not in str(made.error)
        return False
    assert is_signed, "expected a damaged checkpoint to be noticed, got a training"
    if type(made.error) is TrainingError:
        return True  # finite weights of which the loss is not
    if made.error is not None:
        raise made.error
    wrong = [name for name, value in tensors_of(made.result).items() if not value.isfinite().all()]
    assert not wrong, f"expected finite weights, got others in {wrong}"
    return True


@cases(8)
@given(seed=SEEDS)
def test_mutants_do_no_harm(seed: int) -> None:
    check_mutant(seed)


def test_some_mutants_are_trained_on() -> None:
    # Else nothing would be learned of those.
    assert 1 <= sum(check_mutant(seed) for seed in SOME) <= len(SOME) // 2


class TestWhatIsWrongIsNoticed:
    @pytest.mark.parametrize(
        ("harm", "expected"),
        [
            (lambda: {}["epoch"], "epoch"),
            (lambda: torch.zeros(32_000_000).add_(1), "MiB at most"),
        ],
    )
    def test_other_errors_and_too_much(self, harm: Callable[[], object], expected: str) -> None:
        def harmful(*_: object, run_dir: Path, **__: object) -> None:
            harm()
            raise CheckpointError(f"{run_dir / FOLDER / LAST}: expected a checkpoint")

        with pytest.raises((AssertionError, KeyError), match=expected):
            check_mutant(1, harmful)

    def test_what_is_not_looked_at(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(import_module("grapheme_pyg.training.fit"), "check_state", lambda *_: None)
        with pytest.raises((AssertionError, KeyError, TypeError, RuntimeError)):
            [check_mutant(seed) for seed in SOME]


def test_what_is_too_large_is_not_read() -> None:
    run = stopped(0)
    content = signed(larger(run.last, random.Random(0)))
    made, _, _ = resume(run, content, None)
    assert isinstance(made.error, CheckpointError)
    assert "of at most" in str(made.error)
    made.require(seconds=SECONDS, mib=OBJECTS / 2)
