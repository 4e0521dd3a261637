import copy
import threading
from types import MethodType

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import prune

from grapheme_pyg.nn.evaluating import evaluating, evaluation_view


class Noisy(nn.Module):
    """Parts that compute something else in training, at several depths."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.Sequential(nn.BatchNorm1d(3), nn.Dropout())
        self.parts = nn.ModuleDict({"one": nn.Dropout(0.9)})
        self.register_module("none", None)

    def forward(self, x: Tensor) -> Tensor:
        return self.parts["one"](self.norm(x))

    @evaluating
    def evaluated(self, x: Tensor) -> Tensor:
        return self(x)


ROWS = torch.arange(12.0).view(4, 3)


@pytest.fixture
def module() -> Noisy:
    module = Noisy()
    module(ROWS)
    return module


def test_as_in_evaluation_mode(module: Noisy) -> None:
    expected = copy.deepcopy(module).eval()(ROWS)
    module.parts.eval()
    modes, statistics = [part.training for part in module.modules()], copy.deepcopy(module.state_dict())
    before = torch.get_rng_state()
    assert torch.equal(module.evaluated(ROWS), expected)
    assert not module.evaluated(ROWS).requires_grad
    assert modes == [part.training for part in module.modules()]
    assert all(torch.equal(statistics[name], value) for name, value in module.state_dict().items())
    assert torch.equal(torch.get_rng_state(), before)


def test_training_in_another_thread_goes_on(module: Noisy) -> None:
    """A step that comes in the middle of an evaluation trains, and the evaluation goes on as it began."""
    here, go_on = threading.Event(), threading.Event()

    def wait(*_: object) -> None:
        if threading.current_thread() is other:
            here.set()
            assert go_on.wait(10)

    handle = module.norm[0].register_forward_pre_hook(wait)
    given: list[Tensor] = []
    other = threading.Thread(target=lambda: given.append(module.evaluated(ROWS)))
    other.start()
    assert here.wait(10)
    batches = int(module.norm[0].num_batches_tracked)
    assert all(part.training for part in module.modules())
    assert module(ROWS).requires_grad
    assert int(module.norm[0].num_batches_tracked) == batches + 1
    handle.remove()
    go_on.set()
    other.join(10)
    assert len(given) == 1
    assert torch.equal(given[0], copy.deepcopy(module).eval()(ROWS))


def test_weights_and_buffers_are_the_modules_own(module: Noisy) -> None:
    view = evaluation_view(module)
    assert [id(value) for value in view.state_dict(keep_vars=True).values()] == [
        id(value) for value in module.state_dict(keep_vars=True).values()
    ]
    module.norm[0].running_mean = torch.ones(3)
    assert torch.equal(view.norm[0].running_mean, torch.ones(3))


def test_hooks_of_parts_are_called(module: Noisy) -> None:
    modes = []
    module.norm[1].register_forward_hook(lambda part, *_: modes.append(part.training))
    prune.random_unstructured(module.norm[0], "weight", 2)  # a hook that sets the weight
    with torch.no_grad():
        module.norm[0].weight_orig.fill_(7)
    assert (module.evaluated(ROWS) == 0).sum() >= 8
    assert modes == [False]


def test_methods_that_were_set_on_a_module_are_those_of_the_view(module: Noisy) -> None:
    expected = module.evaluated(ROWS)
    module.forward = MethodType(lambda self, x: 2 * Noisy.forward(self, x), module)
    assert torch.equal(module.evaluated(ROWS), 2 * expected)


def test_compiled_modules_are_not_called_in_their_own_mode(module: Noisy) -> None:
    expected = module.evaluated(ROWS)
    module.norm.compile(backend="eager")
    assert torch.equal(module.evaluated(ROWS), expected)


@pytest.mark.parametrize("enabled", [True, False])
def test_errors_leave_gradients_as_they_were(module: Noisy, enabled: bool) -> None:
    def fail(*_: object) -> None:
        assert not torch.is_grad_enabled()
        raise KeyError("…")

    module.norm.register_forward_pre_hook(fail)
    with torch.set_grad_enabled(enabled):
        for _ in range(2):
            with pytest.raises(KeyError):
                module.evaluated(ROWS)
            assert torch.is_grad_enabled() is enabled
