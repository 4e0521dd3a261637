import pickle
import subprocess
import sys
from pathlib import Path

import model_files
import pytest
import torch
from harness import Check, try_cases
from model_files import CHECKS, original, try_flip, try_mutant, try_pickle
from pickle_payloads import unpickle

from grapheme_pyg import ImageClassificationModel
from grapheme_pyg.errors import ModelFileError

MUTANTS, PICKLES, FLIPS = CHECKS


@pytest.mark.parametrize(
    ("check", "count"),
    [(MUTANTS, 120), pytest.param(MUTANTS, 2000, marks=pytest.mark.slow), (PICKLES, 20), (FLIPS, 60)],
    ids=lambda it: str(it)[:30],
)
def test_promises_hold(check: Check, count: int) -> None:
    outcome = try_cases(check, count)
    assert outcome.done == count
    assert outcome.messages == []
    assert outcome.broken == 0


def test_some_mutants_are_models() -> None:
    # Else nothing would be learned of those.
    assert 3 <= sum(try_mutant(number)["number of models"] for number in range(50)) <= 25


def test_a_loader_that_unpickles_is_caught() -> None:
    def load(folder: Path) -> ImageClassificationModel:
        for name in ("model.safetensors", "config.json"):
            try:
                unpickle((folder / name).read_bytes())
            except Exception:
                continue
        raise ModelFileError(f"{folder}: expected a model")

    assert try_cases(Check("all", "", 20, lambda number: try_pickle(number, load))).broken == 20


def test_a_loader_without_checks_is_caught() -> None:
    def load(folder: Path) -> ImageClassificationModel:
        model = ImageClassificationModel.from_preset("tiny").eval()
        if (folder / "config.json").read_bytes() == original()[0][0]:
            raise ModelFileError(f"{folder}: expected a model")
        return model

    flips = try_cases(Check("flips", "", 20, lambda number: try_flip(number, load)))
    assert 0 < flips.broken < 20
    mutants = try_cases(Check("mutants", "", 40, lambda number: try_mutant(number, load)))
    assert any("expected a damaged model to be refused" in message for message in mutants.messages)


@pytest.mark.parametrize(
    ("harm", "expected"),
    [
        (lambda: pickle.loads(b"garbage"), "pickle data was truncated"),
        (lambda: sum(range(12_000_000)), r"expected 0\.01 s and \d+ bytes at most"),
        (lambda: torch.zeros(4_000_000).add_(1), r"expected 0\.01 s and \d+ bytes at most"),
    ],
)
def test_other_errors_and_too_much_are_caught(harm, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_files, "MOST_SECONDS", 0.01)

    def load(folder: Path) -> ImageClassificationModel:
        harm()
        raise ModelFileError(f"{folder}: expected a model")

    with pytest.raises(Exception, match=expected):
        try_mutant(0, load)


@pytest.mark.slow
def test_a_large_model_takes_twice_its_size(tmp_path: Path) -> None:
    model = ImageClassificationModel.from_preset("base", hidden_channels=(96, 192, 320)).eval()
    model.save_pretrained(tmp_path / "model")
    size = (tmp_path / "model" / "model.safetensors").stat().st_size
    assert size > 10_000_000
    # Once on a small model before, for what libraries set up at first use.
    ImageClassificationModel.from_preset("tiny").save_pretrained(tmp_path / "small")
    script = (
        "import sys; from pathlib import Path; import model_files as it\n"
        "it.ImageClassificationModel.from_pretrained(sys.argv[1] + '/small')\n"
        "model, taken = it.measured(Path(sys.argv[1]) / 'model', it.ImageClassificationModel.from_pretrained)\n"
        "print(int(taken['bytes of memory']))\n"
    )
    folder = Path(model_files.__file__).parent
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script, str(tmp_path)],
        cwd=folder,
        check=True,
        capture_output=True,
        text=True,
    )
    taken = int(ran.stdout)
    # That it takes more than the weights themselves shows that they are counted.
    assert size < taken < 2 * size + model_files.OBJECTS
