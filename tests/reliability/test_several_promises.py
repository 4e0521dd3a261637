import pytest
import several
from harness import try_cases
from namespaces import reason_against

from grapheme_pyg.training import joint

CHECKS = {check.name: check for check in several.CHECKS}


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("shares", 8),
        # In a grid with templates that learn by gradient.
        ("parity", 1),
        pytest.param("parity", 16, marks=pytest.mark.slow),
        pytest.param("lost_processes", 3, marks=pytest.mark.slow),
    ],
)
def test_the_promise_holds(name, count):
    outcome = try_cases(CHECKS[name], count)
    assert (outcome.done, outcome.broken, outcome.messages) == (count, 0, [])
    if name == "shares":
        assert outcome.measured["number of empty shares"] > 0
    if name == "lost_processes":
        assert outcome.measured["number of processes that were left alone"] == count


@pytest.mark.slow
def test_two_network_namespaces():
    if (reason := reason_against()) is not None:
        pytest.skip(f"no network namespaces here: {reason}")
    outcome = try_cases(CHECKS["namespaces"], 1)
    assert (outcome.done, outcome.broken, outcome.messages) == (1, 0, [])
    assert "seconds" in outcome.measured


def test_samples_that_come_twice_are_noticed(monkeypatch):
    whole = several.EpochBatches
    monkeypatch.setattr(several, "EpochBatches", lambda sampler, size, rank, world_size: whole(sampler, size))
    assert "is not" in try_cases(CHECKS["shares"], 1).messages[0]


def train_apart(number, rank, train=several.train):
    joint._JointLearning.on_fit_start = lambda *_: None
    return train(number, rank)


@pytest.mark.slow
def test_statistics_of_each_process_alone_are_noticed(monkeypatch):
    monkeypatch.setattr(several, "train", train_apart)
    assert "expected equal weights on all of them" in try_cases(CHECKS["parity"], 1).messages[0]


@pytest.mark.slow
def test_processes_that_wait_too_long_are_noticed(monkeypatch):
    monkeypatch.setattr(several, "LIMIT", 0.0)
    assert try_cases(CHECKS["lost_processes"], 1).broken == 1
