import ast
import time
from pathlib import Path

import data_sets
import data_sets_folders
import data_sets_idx
import data_sets_trial
import pytest
import torch
from data_sets_trial import MIB, BrokenPromiseError, Trial, attempt
from harness import try_cases

from grapheme_pyg import datasets
from grapheme_pyg.errors import DatasetError

PATH = "/data/file"


def refuse():
    raise DatasetError(f"{PATH}: expected this, got that")


def trial(load, expected=None, honest=1000, **options):
    return Trial(load, expected, honest, PATH, **options)


def test_one_of_each_kind():
    outcome = try_cases(data_sets.DATA_SETS, len(data_sets.KINDS))
    assert outcome.messages == []
    assert outcome.done == len(data_sets.KINDS) >= 30
    assert data_sets.COUNT >= 500


def test_nothing_in_the_code_depends_on_assertions():
    for path in (*Path(datasets.__file__).parent.glob("*.py"), *Path(data_sets.__file__).parent.glob("data_sets*.py")):
        tree = ast.walk(ast.parse(path.read_text()))
        found = [
            node.lineno
            for node in tree
            if isinstance(node, ast.Assert) or (isinstance(node, ast.Name) and node.id == "__debug__")
        ]
        assert found == [], path


@pytest.mark.slow  # without files of compiled code, PyTorch is compiled anew: 10 s of the processor
def test_without_assertions(monkeypatch):
    # In a process of its own under ``python -O``: one of each kind of IDX files.
    monkeypatch.setattr(data_sets, "AT_ONCE", len(data_sets_idx.KINDS))
    outcome = try_cases(data_sets.WITHOUT_ASSERTIONS, 1)
    assert outcome.messages == []
    assert outcome.measured["number of cases"] == len(data_sets_idx.KINDS)


def test_a_process_that_finds_something_broken_breaks_the_promise(monkeypatch):
    monkeypatch.setattr(data_sets, "AT_ONCE", 1)
    monkeypatch.setattr(data_sets.sys, "executable", "false")
    assert try_cases(data_sets.WITHOUT_ASSERTIONS, 1).broken == 1


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (trial(list), "expected DatasetError, got data"),
        (trial(refuse, [torch.zeros(2)]), "expected data, got"),
        (trial(lambda: [torch.ones(2)], [torch.zeros(2)]), "expected what was written, got other data"),
        (trial(lambda: [torch.ones(2)], [torch.zeros(2)], either=True), "expected what was written, got other data"),
        (trial(lambda: 1 // 0), "expected DatasetError, got ZeroDivisionError"),
        (trial(lambda: int("x")), "expected DatasetError, got ValueError"),
        (trial(refuse, error=FileNotFoundError), "expected FileNotFoundError, got DatasetError"),
        (Trial(refuse, None, 0, "/data/other"), "expected a message that names /data/other"),
        (trial(lambda: [torch.ones(64 * MIB, dtype=torch.uint8)[:1]], [torch.ones(1)]), r"expected at most 24\.0 MiB"),
    ],
)
def test_what_is_wrong_is_noticed(wrong, message):
    with pytest.raises(BrokenPromiseError, match=message):
        attempt(wrong)


def test_what_is_right_passes():
    measured = attempt(trial(lambda: [torch.ones(32 * MIB, dtype=torch.uint8)[:1]], [torch.ones(1)], 8 * MIB))
    assert 31 < measured["MiB"] < 40
    attempt(trial(refuse))
    attempt(trial(refuse, [torch.zeros(2)], either=True))


def test_what_takes_too_long_is_noticed(monkeypatch):
    def spin():
        end = time.process_time() + 0.1
        while time.process_time() < end:
            pass
        refuse()

    monkeypatch.setattr(data_sets_trial, "LONGEST", 0.05)
    with pytest.raises(BrokenPromiseError, match=r"expected at most 0\.05 s, got 0\."):
        attempt(trial(spin))
    monkeypatch.setattr(data_sets_trial, "HUNG", 0.05)
    with pytest.raises(BrokenPromiseError, match=r"expected an end within 0\.05 s, got none"):
        attempt(trial(lambda: time.sleep(5)))


def test_a_reader_that_guesses_is_caught(monkeypatch):
    monkeypatch.setattr(data_sets_idx, "read_idx", lambda path, **options: torch.zeros(3, dtype=torch.uint8))
    assert try_cases(data_sets.DATA_SETS, 9).broken == 9


def test_a_folder_loader_that_skips_is_caught(monkeypatch):
    load = data_sets_folders.load_image_folder
    monkeypatch.setattr(
        data_sets_folders, "load_image_folder", lambda folder, channels: load(folder, channels, on_error="skip")
    )
    at = data_sets.KINDS.index(data_sets_folders.class_without_pictures)
    with pytest.raises(BrokenPromiseError, match="class_without_pictures: expected DatasetError, got data"):
        data_sets.case(at)
