"""Folders of runs: one run at a time, folders that are new, and the newest run found by what it holds."""

import errno
import json
import multiprocessing
import os
import shutil
import signal
import threading
import time
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
import torch
from systems import needs_posix

from grapheme_pyg import ImageClassificationModel, TrainingSettings, fit
from grapheme_pyg.errors import ImageError, TrainingError, TrainingWarning
from grapheme_pyg.runs import new_run_dir, train_run
from grapheme_pyg.training import run_lock
from grapheme_pyg.training.run_lock import alone_in

REFUSED = "folder: expected one that nothing else is changing, got {}, which process "


def hold(folder: Path, told: Connection) -> None:
    """Trains in a folder, and has a process that loads, whose number it tells."""
    with alone_in(folder):
        if os.fork() == 0:
            told.send(os.getpid())
        time.sleep(600)


@needs_posix
class TestLock:
    @pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
    def test_it_goes_with_the_process_and_not_with_those_that_load(self, tmp_path: Path) -> None:
        fork = multiprocessing.get_context("fork")
        ours, theirs = fork.Pipe()
        holder = fork.Process(target=hold, args=(tmp_path, theirs))
        holder.start()
        loading = ours.recv()
        try:
            expected = REFUSED.format(tmp_path) + f"{holder.pid} on .* is changing$"
            with pytest.raises(TrainingError, match=expected) as caught:
                fit(*training(), run_dir=tmp_path, resume=True, verbose=False)
            assert "\n" not in str(caught.value)
            assert [path.name for path in tmp_path.iterdir()] == [run_lock.LOCK]
            holder.kill()
            holder.join()
            with alone_in(tmp_path):
                os.kill(loading, 0)  # it is still there
        finally:
            holder.kill()
            os.kill(loading, signal.SIGKILL)

    def test_other_threads_are_kept_out_and_the_same_is_not(self, tmp_path: Path) -> None:
        def enter() -> None:
            try:
                with alone_in(tmp_path):
                    came.append("entered")
            except TrainingError as error:
                came.append(str(error))

        came: list[str] = []
        with alone_in(tmp_path), alone_in(tmp_path / ".." / tmp_path.name):
            thread = threading.Thread(target=enter)
            thread.start()
            thread.join()
        enter()
        assert came[0].startswith(REFUSED.format(tmp_path) + f"{os.getpid()} on ")
        assert came[1:] == ["entered"]

    def test_links_are_not_followed(self, tmp_path: Path) -> None:
        (tmp_path / "outside").write_text("kept")
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / run_lock.LOCK).symlink_to(tmp_path / "outside")
        with pytest.raises(OSError, match="symbolic link"), alone_in(tmp_path / "run"):
            pass
        assert (tmp_path / "outside").read_text() == "kept"

    def test_file_systems_without_locks(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*_: object) -> None:
            raise OSError(errno.ENOSYS, "Function not implemented")

        monkeypatch.setattr(run_lock.fcntl, "flock", refuse)
        with pytest.warns(TrainingWarning, match="cannot be locked .*: start no second run in it"), alone_in(tmp_path):
            pass


def training() -> tuple[ImageClassificationModel, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    model = ImageClassificationModel.from_preset("tiny", 2)
    return model, torch.randint(256, (4, 12, 12), dtype=torch.uint8), torch.arange(4) % 2


@pytest.mark.filterwarnings("ignore::grapheme_pyg.errors.TrainingWarning", "ignore::grapheme_pyg.errors.ImageWarning")
class TestFolders:
    @pytest.fixture(autouse=True)
    def _in_a_folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(time, "strftime", lambda _: "20260101-120000")

    @staticmethod
    def run(folder: Path, name: str = "cats[1]", **options: object) -> None:
        model, *images = training()
        settings = TrainingSettings(epochs=1, device="cpu")
        train_run(model, images, images, name=name, settings=settings, run_dir=folder, **options)

    def test_names_do_not_collide_within_a_second(self) -> None:
        folders = [new_run_dir("cats") for _ in range(3)]
        assert [folder.name for folder in folders] == [f"cats-20260101-120000{end}" for end in ("", "-2", "-3")]

    def test_the_newest_is_found_by_what_it_holds(self) -> None:
        first, second = new_run_dir("cats[1]"), new_run_dir("cats[1]")
        new_run_dir("cats[1]")  # nothing was begun in it
        self.run(second)
        self.run(first)  # the one that was begun last
        other = {"dataset": "cats1", "run": "cats1-20270101-120000", "started": "2027"}
        for name, text in (("x", "[1]"), ("torn", '{"dataset": '), (other["run"], json.dumps(other))):
            (Path("runs") / name).mkdir()
            (Path("runs") / name / "settings.json").write_text(text)
        Path("runs/notes.txt").touch()
        shutil.copytree(second, "runs/cats[1]-20270101-120000")
        os.utime(second)
        found = new_run_dir("cats[1]", resume=True)
        assert found == first
        self.run(found, resume=True)
        assert new_run_dir("cats[1]", resume=True) == first
        with pytest.raises(ValueError, match=r"resume: expected a run of dogs in .*, or a run_dir, got neither"):
            new_run_dir("dogs", resume=True)

    def test_a_run_beside_a_live_one_is_refused(self) -> None:
        folder, came = new_run_dir("cats"), []
        with alone_in(folder):
            thread = threading.Thread(target=lambda: came.extend(refusals(folder)))
            thread.start()
            thread.join()
        assert [error.startswith(REFUSED.format(folder)) for error in came] == [True, True]
        assert [path.name for path in folder.iterdir()] == [run_lock.LOCK]

    def test_a_test_is_the_end(self, capsys: pytest.CaptureFixture[str]) -> None:
        folder = new_run_dir("cats")
        model, *images = training()
        settings = TrainingSettings(epochs=1, device="cpu", seed=3)
        train_run(model, images, images, name="cats", settings=settings, run_dir=folder, test=images)
        result = json.loads((folder / "test.json").read_text())
        assert result["num_weights"] == sum(weight.numel() for weight in model.parameters())
        assert (result["dataset"], result["seed"]) == ("cats", 3)
        accuracy = f"test accuracy {100 * result['test_accuracy']:.2f} % on cats, 4 images\n"
        assert capsys.readouterr().out.endswith(accuracy)


def refusals(folder: Path) -> list[str]:
    found = []
    for resume in (False, True):
        try:
            TestFolders.run(folder, resume=resume)
        except TrainingError as error:
            found.append(str(error))
    return found


class Elsewhere(list):
    """Images that a process which loads does not get, however it was started."""

    def __init__(self, images: torch.Tensor) -> None:
        super().__init__(images)
        self.parent = os.getpid()

    def __getitem__(self, place):
        return super().__getitem__(place) if os.getpid() == self.parent else self.load()


class Killing(Elsewhere):
    def load(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


class Broken(Elsewhere):
    def load(self) -> torch.Tensor:
        return torch.zeros(3)


class TestLoadingProcesses:
    @staticmethod
    def fit(dataset: object, run_dir: Path) -> None:
        model, _, labels = training()
        settings = TrainingSettings(epochs=1, batch_size=1, num_workers=2, device="cpu", checkpoint_every=1)
        fit(model, dataset, labels, settings=settings, run_dir=run_dir, verbose=False)

    @needs_posix
    def test_one_that_is_killed_is_one_line(self, tmp_path: Path) -> None:
        expected = r"^num_workers: expected processes that load until training ends, but DataLoader worker .*[^.]$"
        with pytest.raises(TrainingError, match=expected) as caught:
            self.fit(Killing(training()[1]), tmp_path)
        assert "\n" not in str(caught.value)
        assert caught.value.__suppress_context__
        assert multiprocessing.active_children() == []  # Python would wait for them at its end

    def test_what_one_finds_is_one_line(self, tmp_path: Path) -> None:
        with pytest.raises(ImageError, match=r"^images\[0\]: expected shape \[H, W\] or .*, got \(3,\)$") as caught:
            self.fit(Broken(training()[1]), tmp_path)
        assert "\n" not in str(caught.value)
        assert multiprocessing.active_children() == []
