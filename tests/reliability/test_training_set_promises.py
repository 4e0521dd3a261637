import pytest
import torch
import training_sets
from harness import try_cases
from training_sets import CHECKS, finite


def test_promises() -> None:
    # Every kind of set, on grids.
    (check,) = CHECKS
    outcome = try_cases(check, 9)
    assert (outcome.done, outcome.broken, outcome.messages) == (9, 0, [])
    # On white images alone all classes but one are lost.
    assert outcome.measured["warnings"] >= 1


def test_what_is_not_finite_is_noticed() -> None:
    with pytest.raises(AssertionError, match=r"expected finite numbers, got others in \['b'\]"):
        finite({"a": torch.ones(2), "b": torch.tensor([1.0, torch.nan]), "c": None})


def test_a_missing_warning_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_sets, "expected_warnings", lambda *_: {"weather"})
    outcome = try_cases(CHECKS[0], 3)
    assert outcome.broken >= 1
    assert "expected warnings of ['weather'], got" in outcome.messages[0]
