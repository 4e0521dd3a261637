"""Several processes, that meet."""

import os
import socket
import subprocess
import sys
import time
import warnings
from functools import partial
from pathlib import Path

import pytest
import torch
from ranks import environment, free_port, on_ranks, variables

from grapheme_pyg import ImageClassificationModel, TrainingSettings, VisionBrain, fit
from grapheme_pyg.datasets import Split
from grapheme_pyg.errors import TrainingError, TrainingWarning
from grapheme_pyg.training.joint import check_equal, jointly
from grapheme_pyg.training.loading import no_graphs
from grapheme_pyg.training.processes import Processes, met


def make(seed: int = 0, **kwargs: object) -> ImageClassificationModel:
    torch.manual_seed(seed)
    return ImageClassificationModel(VisionBrain(extend=False), hidden_channels=(4, 6, 8), **kwargs)


def meet(rank: int, world_size: int = 2, patience: float = 20.0):
    return met(Processes(rank, world_size), cuda=False, patience=patience)


class TestEnvironment:
    def test_alone(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("WORLD_SIZE", "RANK"):
            monkeypatch.delenv(name, raising=False)
        assert Processes.of_environment() == Processes(0, 1, 0, 1)
        assert not Processes.of_environment().several
        with environment({"WORLD_SIZE": "1"}):
            assert Processes.of_environment().writes

    def test_as_torchrun_says(self) -> None:
        with environment(variables(5, 8, 1234) | {"LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4"}):
            processes = Processes.of_environment()
        assert processes == Processes(rank=5, world_size=8, local_rank=1, local_world_size=4)
        assert processes.several
        assert not processes.writes

    @pytest.mark.parametrize(
        ("change", "match"),
        [
            ({"RANK": ""}, "RANK: expected it in the environment, as WORLD_SIZE is 8, got nothing"),
            ({"MASTER_ADDR": ""}, "MASTER_ADDR: expected it in the environment"),
            ({"RANK": "8"}, r"RANK: expected an integer in \[0, 7\] in the environment, got '8'"),
            ({"WORLD_SIZE": "-2"}, "WORLD_SIZE: expected an integer of at least 1 in the environment, got '-2'"),
            ({"LOCAL_WORLD_SIZE": "3"}, "LOCAL_WORLD_SIZE: expected a divisor of 8, got 3"),
        ],
    )
    def test_bad_values(self, change: dict[str, str], match: str) -> None:
        with environment(variables(5, 8, 1234) | change), pytest.raises(ValueError, match=match):
            Processes.of_environment()


def test_one_that_nobody_joins_gives_up() -> None:
    started = time.monotonic()
    alone = environment(variables(0, 2, free_port()))
    with alone, pytest.raises(TrainingError, match="expected all 2 to answer"), meet(0, patience=0.5):
        pass
    assert time.monotonic() - started < 30


@pytest.mark.slow
def test_one_whose_first_was_stopped_gives_up() -> None:
    # In a process of its own: a thread of it waits as long as it lives.
    with socket.create_server(("127.0.0.1", 0)) as silent:
        place = variables(1, 2, silent.getsockname()[1])
        code = (
            "from grapheme_pyg.training.processes import Processes, met\n"
            "with met(Processes(1, 2), cuda=False, patience=1.0): pass"
        )
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | place,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr.strip().endswith(
        "TrainingError: processes: expected all 2 to answer, got another than 1 gone or silent (no answer within 1 s); "
        "resume goes on from the last checkpoint"
    )


def leave(rank: int) -> str:
    try:
        with meet(rank):
            if rank == 1:
                raise KeyError
    except (KeyError, TrainingError) as error:
        return repr(error)
    return "nothing"


def test_one_whose_other_is_gone_says_so() -> None:
    said, gone = on_ranks(2, leave)
    assert gone == "KeyError()"
    assert said.startswith("TrainingError('processes: expected all 2 to answer, got another than 0 gone or silent (")


def train_with_its_own_seed(split: Split, rank: int) -> str:
    settings = TrainingSettings(epochs=1, device="cpu", seed=rank, patience=20.0)
    try:
        fit(make(), split.images, split.labels, settings=settings, verbose=False)
    except TrainingError as error:
        return str(error)
    return "nothing"


def test_other_settings_are_refused(digits: tuple[Split, Split]) -> None:
    split = Split(digits[0].images[:4], digits[0].labels[:4])
    said = on_ranks(2, partial(train_with_its_own_seed, split))
    assert said[0] == "processes: expected others with the same settings"
    assert said[1] == "processes: expected settings.seed = 0 on every process, got 1"


def compare(rank: int) -> tuple[float, bool, str]:
    # Of another seed on each process.
    model = make(seed=rank)
    with meet(rank):
        with jointly(model):
            weight = float(model.classifier.project.weight.detach().sum())
        check_equal(model)
        # One bit, of one statistic.
        if rank == 1:
            mean = model.dag.norm["cell0_round0"].running_mean
            mean[2] = torch.nextafter(mean[2], torch.tensor(1.0))
        try:
            check_equal(model)
        except TrainingError as error:
            return weight, model.dag.process_group is None, str(error)
    return weight, False, "nothing"


def test_weights_are_equal_at_the_start_and_compared_at_the_end() -> None:
    first, second = on_ranks(2, compare)
    assert first == second
    assert first[:2] == (float(make(seed=0).classifier.project.weight.detach().sum()), True)
    assert first[2].startswith("processes: expected equal weights on all of them, got checksums ")


def train_twice(split: Split, folder: Path, rank: int) -> list[list[dict[str, float]]]:
    arguments = {
        "validation": (split.images[:3], split.labels[:3]),
        "settings": TrainingSettings(epochs=1, batch_size=4, device="cpu", patience=20.0),
        "verbose": False,
        "run_dir": folder / f"disk{rank}",
    }
    with warnings.catch_warnings():
        # What is trained here is not meant to be good.
        warnings.simplefilter("ignore", TrainingWarning)
        return [fit(make(seed=2 * rank + i), *split, resume=i == 1, **arguments) for i in range(2)]


def test_only_the_first_has_files(tmp_path: Path, digits: tuple[Split, Split]) -> None:
    # As on machines that share no disk: the second finds no checkpoint, and goes on from the first's.
    split = Split(digits[0].images[:9], digits[0].labels[:9])
    first, second = on_ranks(2, partial(train_twice, split, tmp_path))
    assert first[0] == first[1] == second[1]
    assert [row["val_accuracy"] for row in first[0]] == [row["val_accuracy"] for row in second[0]]
    assert (tmp_path / "disk0" / "checkpoints" / "last.ckpt").is_file()
    assert not (tmp_path / "disk1").exists()


@pytest.mark.parametrize("mode", ["grid", "blob", "superpixel", "hybrid"])
@pytest.mark.parametrize("readout", ["levels", "sinks"])
def test_a_share_of_nothing(mode: str, readout: str) -> None:
    vision = VisionBrain(mode=mode)
    model = ImageClassificationModel(vision, readout=readout, template_update="gradient").train()
    some, none = vision.batch(torch.zeros(2, 28, 28, dtype=torch.uint8), [1, 0]), no_graphs(vision)
    assert set(none.keys()) == set(some.keys())
    for key in set(some.keys()):
        assert none[key].dtype == some[key].dtype, key
        assert none[key].dim() == some[key].dim(), key
    assert none.num_graphs == none.num_nodes == none.num_edges == 0
    logits = model(none)
    assert logits.shape == (0, 10)
    logits.sum().backward()
