import copy
import threading

import pytest
import torch
from torch import nn

from grapheme_pyg.nn.evaluating import evaluating


class Waiting(nn.Module):
    """Says in which modes it was before and after it waited for others."""

    def __init__(self) -> None:
        super().__init__()
        self.part = nn.Dropout()

    @evaluating
    def modes(self, here: threading.Event, go_on: threading.Event) -> tuple[bool, bool]:
        before = self.part.training
        here.set()
        assert go_on.wait(10)
        return before, self.part.training


def overlapping(first: nn.Module, second: nn.Module) -> list[tuple[bool, bool]]:
    """Calls one, then the other; the one that came first leaves first."""
    events = [threading.Event() for _ in range(4)]
    found: list[tuple[bool, bool]] = []
    calls = [
        threading.Thread(target=lambda i=i, module=module: found.append(module.modes(*events[2 * i : 2 * i + 2])))
        for i, module in enumerate((first, second))
    ]
    for i, call in enumerate(calls):
        call.start()
        assert events[2 * i].wait(10)
    for i, call in enumerate(calls):
        events[2 * i + 1].set()
        call.join(10)
    return found


@pytest.mark.parametrize("training", [True, False])
def test_calls_that_overlap(training: bool) -> None:
    module = Waiting().train(training)
    assert overlapping(module, module) == [(False, False), (False, False)]
    assert module.training is module.part.training is training


def test_calls_of_a_module_and_of_its_part() -> None:
    whole = Waiting()
    whole.inner = Waiting()
    assert overlapping(whole, whole.inner) == [(False, False), (False, False)]
    assert whole.inner.part.training
    assert overlapping(whole.inner, whole) == [(False, False), (False, False)]
    assert whole.training is whole.inner.training is whole.inner.part.training is True


def test_modes_of_parts_are_kept() -> None:
    module = Waiting()
    module.part.eval()
    overlapping(module, module)
    assert (module.training, module.part.training) == (True, False)


def test_a_part_that_is_put_in_meanwhile_is_left_alone() -> None:
    class Growing(nn.Module):
        @evaluating
        def grow(self) -> None:
            self.new = nn.Dropout()

    module = Growing()
    module.grow()
    assert module.training
    assert module.new.training


def test_a_copy_that_is_made_meanwhile_goes_its_own_way() -> None:
    class Copied(nn.Module):
        @evaluating
        def copied(self) -> nn.Module:
            return copy.deepcopy(self)

    module = Copied()
    other = module.copied()
    assert (module.training, other.training) == (True, False)
    other.copied()
    assert not other.training


def test_errors_leave_modes_as_they_were() -> None:
    class Failing(nn.Module):
        @evaluating
        def fail(self) -> None:
            assert not torch.is_grad_enabled()
            raise KeyError("…")

    module = Failing()
    for _ in range(2):
        with pytest.raises(KeyError):
            module.fail()
        assert module.training
