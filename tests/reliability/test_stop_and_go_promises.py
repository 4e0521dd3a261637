from functools import partial

import no_room
import pytest
import stop_and_go
from harness import try_cases
from training_process import differences

pytestmark = pytest.mark.slow
CHECKS = {check.name: check for check in (*stop_and_go.CHECKS, *no_room.CHECKS)}


@pytest.mark.parametrize(
    ("name", "count"), [("kills", 5), ("signals", 4), ("same_seed", 2), ("workers", 2), ("no_room", 3)]
)
def test_the_promise_holds(name, count):
    outcome = try_cases(CHECKS[name], count)
    assert (outcome.done, outcome.broken, outcome.messages) == (count, 0, [])
    if name == "kills":
        assert outcome.measured["number of kills within a save"] >= 1
    if name == "signals":
        assert outcome.measured["number of runs that were stopped"] == count


def test_another_seed_is_noticed(monkeypatch):
    stop_and_go.uninterrupted(stop_and_go.VARIANTS[0])
    train = partial(stop_and_go.train_anew, hash_seed=0)
    monkeypatch.setattr(stop_and_go, "train_anew", lambda path, *options, **_: train(path, *options, "--seed", "1"))
    assert "differences" in try_cases(CHECKS["same_seed"], 1).messages[0]


def test_differences_are_found():
    assert differences({"a": [1, {"b": 2}]}, {"a": [1, {"b": 3}]}) == ["/a/1/b: 2 ≠ 3"]
    assert differences({"a": 1}, {"c": 1}) != []
