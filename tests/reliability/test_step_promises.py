from dataclasses import replace
from functools import partial

import pytest
import steps
import torch
from harness import try_cases
from steps import CHECKS, Use, compare, train


def test_memory_and_files_of_few_steps() -> None:
    # In this process and without loaders: starting others takes longer than the steps.
    (check,) = CHECKS
    outcome = try_cases(replace(check, case=lambda _: compare(train(0, 300), 1)), 1)
    assert (outcome.done, outcome.messages) == (1, [])


@pytest.mark.slow
def test_memory_and_files_with_loaders() -> None:
    (check,) = CHECKS
    outcome = try_cases(replace(check, case=partial(steps.case, steps=1000, warm_up=400)))
    assert (outcome.done, outcome.messages) == (2, [])


def test_a_leak_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    # 2 MB a step, of some hundreds.
    monkeypatch.setattr(steps, "STEPS_IN_EPOCH", 10)
    leak: list[torch.Tensor] = []
    found = train(0, 80, spoil=lambda: leak.append(torch.ones(500_000)))
    with pytest.raises(AssertionError, match="expected memory to grow less than 2%, got"):
        compare(found, 1)


def test_limits_by_hand() -> None:
    assert compare([Use(50, 9), Use(1000, 4), Use(1010, 4)], 1)["growth in %"] == pytest.approx(1)
    with pytest.raises(AssertionError, match=r"less than 2%, got 3.00%"):
        compare([Use(1000, 4), Use(1030, 4)], 0)
    with pytest.raises(AssertionError, match=r"expected a constant number of open files, got \[4, 5\]"):
        compare([Use(1000, 4), Use(1000, 5)], 0)
