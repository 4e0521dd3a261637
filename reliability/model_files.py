"""Promises about the files of models: strangers' do no harm, damaged ones are refused.

The model is the smallest preset, trained on nothing, its running statistics and weights drawn at random.
Processor time and memory are those of one loading. Memory is the growth of the resident set of the process to its peak
(``VmHWM`` of ``/proc``, set back before), so everything counts: Python's objects, tensors, what libraries take, pages
of files. Heap that was freed before and is used again does not show in it; so each case first gives free heap back to
the system, and the promise is tried on a large model too, in a process of its own (``tests/reliability``). A loading
that takes too long is tried twice more, and the shortest time counts: what takes time in the file does so each time.
"""

import ctypes
import json
import random
import tempfile
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

import torch
from harness import Check, main
from model_mutations import SIGNED, UNSIGNED, Files, flip_bit, signed
from pickle_payloads import PAYLOADS, harms, unpickle

from grapheme_pyg.errors import ModelFileError
from grapheme_pyg.model import ImageClassificationModel
from grapheme_pyg.pretrained import CONFIG, WEIGHTS

Loader = Callable[[Path], ImageClassificationModel]
MOST_SECONDS = 0.5
# What Python and PyTorch take for a model's modules and for a refused text, whatever the size of the files.
OBJECTS = 2**23


@cache
def original() -> tuple[Files, torch.Tensor, torch.Tensor]:
    """A saved model, images, and its similarities for them."""
    torch.manual_seed(0)
    model = ImageClassificationModel.from_preset("tiny")
    images = torch.rand(4, 12, 12)
    for _ in range(3):
        model(model.vision.batch(images))
    with tempfile.TemporaryDirectory(dir=memory_folder()) as name:
        model.eval().save_pretrained(name)
        files = (Path(name) / CONFIG).read_bytes(), (Path(name) / WEIGHTS).read_bytes()
    return files, images, model.predict(images).similarities


def memory_folder() -> str | None:
    """A folder that is kept in memory, where there is one."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108 - files in it have unique names


def measured(folder: Path, load: Loader) -> tuple[ImageClassificationModel | None, dict[str, float]]:
    """Loads a model, or sees it refused; and what that took."""
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    before = _resident("VmRSS")
    model, seconds = _timed(folder, load)
    grown = _resident("VmHWM") - before
    for _ in range(2):
        if seconds > MOST_SECONDS:
            seconds = min(seconds, _timed(folder, load)[1])
    allowed = 2 * sum(path.stat().st_size for path in folder.iterdir()) + OBJECTS
    if seconds > MOST_SECONDS or grown > allowed:
        raise AssertionError(f"expected {MOST_SECONDS} s and {allowed} bytes at most, got {seconds} s and {grown}")
    return model, {"seconds": seconds, "bytes of memory": float(grown), "number of models": float(model is not None)}


def _timed(folder: Path, load: Loader) -> tuple[ImageClassificationModel | None, float]:
    """A model, or None if it is refused by an error that names the file; and seconds of processor time."""
    started = time.process_time()
    try:
        model = load(folder)
    except ModelFileError as error:
        model = None
        if str(folder) not in str(error):
            raise AssertionError(f"expected an error that names the file, got {error}") from error
    return model, time.process_time() - started


def _resident(name: str) -> int:
    """A size of this process in bytes, by its name in ``/proc/self/status``."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


def try_mutant(number: int, load: Loader = ImageClassificationModel.from_pretrained) -> dict[str, float]:
    """A damaged or hostile model: refused, or computing as the original if its checksums are those of the original."""
    rng = random.Random(number)
    files, images, expected = original()
    is_signed = rng.random() < 0.6
    mutant = rng.choice(SIGNED if is_signed else UNSIGNED)(files, rng)
    with tempfile.TemporaryDirectory(dir=memory_folder()) as name:
        _write(Path(name), mutant)
        model, taken = measured(Path(name), load)
    if model is not None:
        similarities = model.predict(images).similarities
        if not is_signed and not torch.equal(similarities, expected):
            raise AssertionError("expected a damaged model to be refused, got one that predicts something else")
        if similarities.shape != (4, len(model.classes)):
            raise AssertionError(f"expected similarities with {len(model.classes)} classes, got {similarities.shape}")
    return taken


def try_pickle(number: int, load: Loader = ImageClassificationModel.from_pretrained) -> dict[str, float]:
    """A pickled payload in place of the weights, of the config, or of both, and under other names beside them."""
    with tempfile.TemporaryDirectory(dir=memory_folder()) as name:
        folder, canary = Path(name) / "model", Path(name) / "canary"
        folder.mkdir()
        payload = PAYLOADS[number % len(PAYLOADS)](harms(canary)[number // len(PAYLOADS) % 4])
        unpickle(payload)
        if not canary.exists():
            raise AssertionError("expected a payload that runs, got one that does nothing")
        canary.unlink()
        (config, weights), *_ = original()
        _write(folder, [signed(json.loads(config), payload), (payload, weights), (payload, payload)][number % 3])
        for other in ("pytorch_model.bin", "model.pt", "config.pkl", "model.safetensors.pkl"):
            (folder / other).write_bytes(payload)
        model, taken = measured(folder, load)
        if model is not None or canary.exists():
            raise AssertionError("expected a payload to be refused, got it loaded or run")
    return taken


def try_flip(number: int, load: Loader = ImageClassificationModel.from_pretrained) -> dict[str, float]:
    """One bit of one of the two files is another: refused, unless it is in white space that means the same."""
    files, *_ = original()
    flipped = flip_bit(files, random.Random(number))
    with tempfile.TemporaryDirectory(dir=memory_folder()) as name:
        _write(Path(name), flipped)
        model, taken = measured(Path(name), load)
    if model is not None and (flipped[1] != files[1] or flipped[0].split() != files[0].split()):
        raise AssertionError("expected a flipped bit to be noticed, got a model")
    return taken


def _write(folder: Path, files: Files) -> None:
    for name, content in zip((CONFIG, WEIGHTS), files, strict=True):
        (folder / name).write_bytes(content)


CHECKS = (
    Check("model_file_mutants", "damaged and hostile models do no harm", 100_000, try_mutant),
    Check("model_file_pickles", "pickled payloads are not run", 20, try_pickle),
    Check("model_file_bit_flips", "a flipped bit is noticed", 1000, try_flip),
)

if __name__ == "__main__":
    raise SystemExit(main(CHECKS))
