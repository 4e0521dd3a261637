import threading
from dataclasses import replace

import pytest
import torch
from harness import try_cases
from threads import CHECKS, Calls, compare, model_of, predictions

COUNTS = {"threads_grid": 2, "threads_hybrid": 1, "threads_explain": 2, "threads_batch": 4}


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
def test_promises(check: object) -> None:
    outcome = try_cases(check, COUNTS[check.name])
    assert (outcome.done, outcome.broken, outcome.messages) == (COUNTS[check.name], 0, [])


def test_shared_scratch_is_noticed() -> None:
    # Each call leaves its number where the others leave theirs, waits for them, and takes what it finds.
    scratch, alone = [0], threading.main_thread()
    wait = threading.Barrier(8)
    task = predictions("grid", 1)

    def racy(i: int) -> object:
        scratch[0] = i
        if threading.current_thread() is not alone:
            wait.wait(20)
        return task.calls[scratch[0]]()

    with pytest.raises(AssertionError, match="as alone, got others"):
        compare(replace(task, calls=[lambda i=i: racy(i) for i in range(8)]))


def test_a_changed_model_is_noticed() -> None:
    model = model_of("grid").eval()
    bias = next(norm.running_mean for norm in model.dag.norm.values())

    def moving() -> object:
        bias.add_(1e-3)
        return model.predict(torch.zeros(1, 8, 8))

    kept = bias.clone()
    with pytest.raises(AssertionError, match=r"expected a model that stays as it is, got changes of \['dag.norm"):
        compare(Calls(model, [moving], 1))
    bias.copy_(kept)
