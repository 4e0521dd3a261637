"""Files of models: strangers' do no harm, damaged ones are refused, and loading takes little."""

import atexit
import json
import pickle
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch
from cases import MIB, SEEDS, call, cases
from hypothesis import given
from model_mutations import SIGNED, UNSIGNED, Files, flip_bit, signed
from pickle_payloads import PAYLOADS, harms, unpickle

from grapheme_pyg import ImageClassificationModel, VisionBrain
from grapheme_pyg.errors import GraphemeError, ModelFileError
from grapheme_pyg.pretrained import CONFIG, WEIGHTS

Loader = Callable[[Path], ImageClassificationModel]
load: Loader = ImageClassificationModel.from_pretrained
# Of the processor; a loading that takes longer is tried again, as what takes time in the file does so each time.
SECONDS = 0.5
# Beside twice the size of the files: what Python and PyTorch take for modules and refused texts.
OBJECTS = 16.0
# Of models that mutants are made from.
KINDS = 5


def make_model(kind: int) -> ImageClassificationModel:
    """A small model of one of `KINDS` kinds: modes, readouts, norms, precisions, with a memory or without."""
    small = {"embedding_channels": 5, "templates_per_class": 2}
    if kind == 0:
        return ImageClassificationModel.from_preset("tiny")
    if kind == 1:
        vision = VisionBrain("hybrid", thresholds=(90, 180), rounds=(2, 1))
        return ImageClassificationModel(vision, ["a", "b"], hidden_channels=(4, 5, 6), norm="layer", **small)
    if kind == 2:
        vision = VisionBrain("blob", thresholds=(60, 120), blob_rounds=1, in_channels=3)
        return ImageClassificationModel(
            vision, 3, hidden_channels=(4, 4, 4), norm=None, readout="sinks", **small
        ).half()
    if kind == 3:
        vision = VisionBrain("superpixel", num_regions=6, rounds=(1, 1), contours=True)
        return ImageClassificationModel(vision, 4, hidden_channels=(4, 5), template_update="momentum", **small).double()
    vision = VisionBrain(rounds=(1, 2), resize=9, detections=True)
    return ImageClassificationModel(vision, 3, hidden_channels=(4, 5), **small)


@cache
def original(kind: int = 0) -> tuple[Files, torch.Tensor, torch.Tensor]:
    """A saved model, images, and its similarities for them."""
    torch.manual_seed(kind)
    model = make_model(kind)
    images = torch.rand(4, 12, 12)
    model(model.vision.batch(images))
    if kind % 4 == 1 or kind == KINDS - 1:
        model.remember(images, [0, 0, 1, 1])
        model.add_class("new", 1 - images[:2])
        model.calibrate(images, [0, 0, 1, 1])
    folder = folder_of()
    model.eval().save_pretrained(folder)
    files = (folder / CONFIG).read_bytes(), (folder / WEIGHTS).read_bytes()
    load(folder)  # once, for what libraries set up at first use
    return files, images, model.predict(images).similarities


@cache
def base() -> Path:
    """A folder that is kept in memory where that is possible, and goes when this process ends."""
    path = Path(tempfile.mkdtemp(dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path


def folder_of() -> Path:
    folder = base() / "model"
    folder.mkdir(exist_ok=True)
    return folder


def check(files: Files, loader: Loader) -> ImageClassificationModel | None:
    """Loads a model, or sees it refused by an error that names the file; neither may take much."""
    folder = folder_of()
    for name, content in zip((CONFIG, WEIGHTS), files, strict=True):
        (folder / name).write_bytes(content)
    for attempt in range(3):
        made = call(lambda: loader(folder))
        if made.error is not None:
            if type(made.error) is not ModelFileError:
                raise made.error
            assert str(folder) in str(made.error), f"expected an error that names the file, got {made.error}"
        if made.seconds <= SECONDS or attempt == 2:
            break
    made.require(seconds=SECONDS, mib=2 * sum(map(len, files)) / MIB + OBJECTS)
    return made.result


def check_mutant(seed: int, loader: Loader = load) -> bool:
    """Whether a damaged or hostile model is one that answers.

    It is refused, by our error if not when it is loaded then when it predicts; or it answers with numbers, and as the
    original if it has its checksums.
    """
    rng = random.Random(seed)
    files, images, expected = original(rng.randrange(KINDS))
    is_signed = rng.random() < 0.6
    model = check(rng.choice(SIGNED if is_signed else UNSIGNED)(files, rng), loader)
    if model is None:
        return False
    try:
        found = model.predict(images)
    except GraphemeError as error:
        if not str(error).startswith("model: expected finite"):
            raise
        return False
    similarities, confidences = found.similarities, found.confidences
    assert similarities.isfinite().all()
    assert ((confidences > 0) & (confidences <= 1.001)).all()
    assert found.familiarity is None or (found.familiarity.abs() <= 1).all()
    same = is_signed or torch.equal(similarities, expected)
    assert same, "expected a damaged model to be refused, got one that predicts something else"
    assert similarities.shape == (4, len(model.classes))
    return True


@cases(50)
@given(seed=SEEDS)
def test_mutants_do_no_harm(seed: int) -> None:
    check_mutant(seed)


def test_some_mutants_are_models() -> None:
    # Else nothing would be learned of those.
    assert 3 <= sum(check_mutant(seed) for seed in range(50)) <= 25


def check_flip(seed: int, loader: Loader = load) -> None:
    """One bit of one of the two files is another: refused, unless it is in white space that means the same."""
    (config, weights), *_ = original()
    flipped = flip_bit((config, weights), random.Random(seed))
    model = check(flipped, loader)
    same = flipped[1] == weights and flipped[0].split() == config.split()
    assert model is None or same, "expected a flipped bit to be noticed, got a model"


@cases(50)
@given(seed=SEEDS)
def test_a_flipped_bit_is_noticed(seed: int) -> None:
    check_flip(seed)


def check_pickle(payload: Callable[..., bytes], way: int, place: int, loader: Loader = load) -> None:
    """A payload in place of the weights, of the config, or of both, and under other names beside them."""
    canary = base() / "canary"
    content = payload(harms(canary)[way])
    unpickle(content)
    assert canary.exists(), "expected a payload that runs, got one that does nothing"
    canary.unlink()
    (config, weights), *_ = original()
    for other in ("pytorch_model.bin", "model.pt", "config.pkl", "model.safetensors.pkl"):
        (folder_of() / other).write_bytes(content)
    model = check([signed(json.loads(config), content), (content, weights), (content, content)][place], loader)
    assert model is None, "expected a payload to be refused, got a model"
    assert not canary.exists(), "expected a payload that is not run"


@pytest.mark.parametrize("payload", PAYLOADS)
@pytest.mark.parametrize("way", range(4))
def test_pickles_are_not_run(payload: Callable[..., bytes], way: int) -> None:
    for place in range(3):
        check_pickle(payload, way, place)


def burn(seconds: float) -> None:
    """Keeps the processor busy."""
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


class TestWhatIsWrongIsNoticed:
    def test_a_loader_that_unpickles(self) -> None:
        def unpickling(folder: Path) -> ImageClassificationModel:
            unpickle((folder / WEIGHTS).read_bytes())
            raise ModelFileError(f"{folder}: expected a model")

        for payload in PAYLOADS:
            with pytest.raises(AssertionError, match="expected a payload that is not run"):
                check_pickle(payload, 0, 0, unpickling)
            (base() / "canary").unlink()

    def test_a_loader_without_checks(self) -> None:
        fixed = ImageClassificationModel.from_preset("tiny").eval()
        with pytest.raises(AssertionError, match="expected a flipped bit to be noticed"):
            check_flip(0, lambda folder: fixed)
        unsigned = next(seed for seed in range(50) if random.Random(seed).random() >= 0.6)
        with pytest.raises(AssertionError, match="expected a damaged model to be refused"):
            check_mutant(unsigned, lambda folder: fixed)

    @pytest.mark.parametrize(
        ("harm", "expected"),
        [
            (lambda: pickle.loads(b"garbage"), "pickle data was truncated"),
            (lambda: torch.zeros(16_000_000).add_(1), "MiB at most"),
            pytest.param(lambda: burn(1.1 * SECONDS), "s at most", marks=pytest.mark.slow),
        ],
    )
    def test_other_errors_and_too_much(self, harm: Callable[[], object], expected: str) -> None:
        def harmful(folder: Path) -> ImageClassificationModel:
            harm()
            raise ModelFileError(f"{folder}: expected a model")

        with pytest.raises((AssertionError, pickle.UnpicklingError), match=expected):
            check_mutant(0, harmful)


@pytest.mark.slow
def test_a_large_model_takes_twice_its_size(tmp_path: Path) -> None:
    # In a process of its own: heap that was freed before and is used again would not be counted.
    model = ImageClassificationModel.from_preset("base", hidden_channels=(96, 192, 320)).eval()
    model.save_pretrained(tmp_path / "model")
    size = (tmp_path / "model" / WEIGHTS).stat().st_size / MIB
    assert size > 10
    ImageClassificationModel.from_preset("tiny").save_pretrained(tmp_path / "small")
    script = (
        "import sys; from cases import call; from grapheme_pyg import ImageClassificationModel as it\n"
        "it.from_pretrained(sys.argv[1] + '/small')\n"
        "print(call(lambda: it.from_pretrained(sys.argv[1] + '/model')).mib)\n"
    )
    command = [sys.executable, "-W", "ignore", "-c", script, str(tmp_path)]
    ran = subprocess.run(command, cwd=Path(__file__).parent, check=True, capture_output=True, text=True)
    # That it takes more than the weights themselves shows that they are counted.
    assert size < float(ran.stdout) < 2 * size + OBJECTS
