"""Progress bars appear in a terminal, and nowhere else."""

import os
import signal
import sys
import threading
from functools import partial

import pytest
import torch
from console import run, terminal
from PIL import Image

from grapheme_pyg import ImageClassificationModel, TrainingSettings, VisionBrain, fit
from grapheme_pyg.datasets import GraphCache, ImageDataset, load_image_folder
from grapheme_pyg.progress_bar import DELAY, Bar, progress_bar


@pytest.fixture
def work(images, tmp_path):
    """Operations that may take long, by the unit of their bar and their name."""
    for name in ("a", "b"):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for i, image in enumerate(images):
            Image.fromarray(image.numpy()).save(tmp_path / "pictures" / name / f"{i}.png")
    model, labels = ImageClassificationModel.from_preset("tiny", 2), [0, 1, 0, 1]
    folder = load_image_folder(tmp_path / "pictures", verbose=False)
    return {
        "images, predict": partial(model.predict, images),
        "images, embed": partial(model.embed_images, images),
        "images, remember": partial(model.remember, images, labels),
        "images, calibrate": partial(model.calibrate, images, labels),
        "pictures, folder": partial(load_image_folder, tmp_path / "pictures"),
        "pictures, colour": folder.in_colour,
        "graphs, cache": partial(GraphCache, tmp_path / "cache", ImageDataset(images, labels), VisionBrain()),
    }


def test_bars_in_a_terminal(work):
    with terminal() as written:
        for name, function in work.items():
            function(verbose=False)
            assert written() == "", name
        (work["graphs, cache"].args[0] / "processed/graphs.db").unlink()
        for name, function in work.items():
            function()
            assert f" {name.partition(',')[0]}" in written(), name


def test_no_bars_before_two_seconds(work):
    assert DELAY == 2
    with terminal(delay=3600) as written:
        for name, function in work.items():
            function()
            assert written() == "", name


def test_no_bars_without_a_terminal(work, capfd, monkeypatch):
    monkeypatch.setattr("grapheme_pyg.progress_bar.DELAY", 0)
    assert not sys.stderr.isatty()
    for name, function in work.items():
        function()
        assert capfd.readouterr().err == "", name


@pytest.mark.filterwarnings("ignore::grapheme_pyg.errors.TrainingWarning")
def test_training_and_what_comes_after_it(images, capfd):
    settings = TrainingSettings(epochs=1, batch_size=2, device="cpu")
    train = partial(fit, images=images, labels=[0, 1, 0, 1], validation=(images, [0, 1, 0, 1]), settings=settings)
    with terminal() as written:
        train(ImageClassificationModel.from_preset("tiny", 2), verbose=False)
        assert (written(), capfd.readouterr().out) == ("", "")
        train(ImageClassificationModel.from_preset("tiny", 2))
        shown = written()
        assert shown.index("epoch 1/1: ") < shown.index(" images")
        assert capfd.readouterr().out.startswith("epoch   1/1")
    train(ImageClassificationModel.from_preset("tiny", 2))
    assert capfd.readouterr().err == ""


def test_commands(tmp_path, capsys):
    torch.manual_seed(0)
    model = ImageClassificationModel.from_preset("tiny", ["ring", "bar"])
    model.remember(torch.randint(256, (4, 8, 8), dtype=torch.uint8), [0, 1, 0, 1], verbose=False)
    model.save_pretrained(tmp_path / "model")
    Image.new("L", (9, 9)).save(tmp_path / "one.png")
    with terminal() as written:
        assert run(capsys, "predict", tmp_path / "model", tmp_path / "one.png")[0] == 0
        assert written() == ""  # answers are printed as they come
        assert run(capsys, "predict", tmp_path / "model", tmp_path / "one.png", "--csv", tmp_path / "one.csv")[0] == 0
        assert " pictures" in written()
        assert run(capsys, "teach", tmp_path / "model", tmp_path / "one.png", "--name", "dot")[0] == 0
        assert " pictures" in written()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks")
@pytest.mark.parametrize("killed", [True, False])
def test_forks_while_a_bar_is_made(killed):
    """Neither the parent of a child that is killed then, nor the child, waits for the lock for ever."""
    if not killed:
        Bar.get_lock().acquire()
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        if killed:
            Bar.get_lock().acquire()
            os.kill(os.getpid(), signal.SIGKILL)
        thread = threading.Thread(target=progress_bar, args=(1, "images"))
        thread.start()
        thread.join()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if not killed:
        Bar.get_lock().release()
    assert os.waitstatus_to_exitcode(status) == (-signal.SIGKILL if killed else 0)
    thread = threading.Thread(target=progress_bar, args=(1, "images"), daemon=True)
    thread.start()
    thread.join(20)
    assert not thread.is_alive()
