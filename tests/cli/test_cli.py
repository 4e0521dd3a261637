"""The console command, in this process; that it starts in one of its own, and quickly, too."""

import gc
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from console import run
from PIL import Image

from grapheme_pyg import ImageClassificationModel, TrainingSettings, fit
from grapheme_pyg.cli import COMMANDS, main


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("model")
    ImageClassificationModel.from_preset("tiny", ["ring", "bar", "dot"]).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    generator = np.random.default_rng(0)
    for name, size in (("ring", (30, 20)), ("bar", (28, 28)), ("dot", (90, 40))):
        (folder / name).mkdir()
        for i in range(2):
            pixels = generator.integers(0, 256, (*size, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{i}.png")
    return folder


class TestPredict:
    def test_says_what_the_model_says(self, model: Path, pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
        files = sorted(pictures.glob("*/*.png"))
        code, out, _ = run(capsys, "predict", model, *files, "--json")
        assert code == 0
        network = ImageClassificationModel.from_pretrained(model)
        expected = network.predict([Image.open(file) for file in files])
        answers = json.loads(out)
        assert [answer["file"] for answer in answers] == [str(file) for file in files]
        assert [answer["label"] for answer in answers] == expected.labels
        for answer, probabilities in zip(answers, expected.probabilities, strict=True):
            first, second = probabilities.topk(2).values.tolist()
            assert answer["confidence"] == pytest.approx(first)
            assert answer["runner_up"]["confidence"] == pytest.approx(second)
            assert {answer["label"], answer["runner_up"]["label"]} < set(network.classes)

    def test_broken_files_are_named_and_others_answered(
        self, model: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        broken = tmp_path / "broken.png"
        broken.write_bytes(b"\x89PNG but no more")
        good = pictures / "bar/0.png"
        code, out, err = run(capsys, "predict", model, broken, good, "--json")
        assert code == 1
        assert err.count("\n") == 1
        assert "broken.png" in err
        first, second = json.loads(out)
        assert set(first) == {"file", "error"}
        assert second["file"] == str(good)
        code, out, err = run(capsys, "predict", model, good, tmp_path / "missing.png")
        assert (code, out.count("\n"), err.count("\n")) == (1, 1, 1)

    def test_drawings_are_found_on_sheets(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        torch.manual_seed(0)
        model, names = tmp_path / "model", ("one", "two", "none")
        ImageClassificationModel.from_preset("tiny", 10, vision={"resize": 28}, drawings=True).save_pretrained(model)
        sheets = np.full((3, 150, 200), 220, dtype=np.uint8)
        sheets[:2, 60:120, 40:60] = sheets[1, 60:120, 140:160] = 40
        files = [tmp_path / f"{name}.png" for name in names]
        for file, sheet in zip(files, sheets, strict=True):
            Image.fromarray(sheet).save(file)
        code, out, err = run(capsys, "predict", model, *files, "--json")
        boxes = [(Path(answer["file"]).stem, answer.get("box")) for answer in json.loads(out)]
        left, right = [40, 60, 60, 120], [140, 60, 160, 120]
        assert boxes[0] == ("one", left)
        assert sorted(boxes[1:3]) == [("two", left), ("two", right)]
        assert (code, err) == (1, f"grapheme predict: {files[2]}: expected a drawing, got a blank sheet\n")
        assert run(capsys, "predict", model, files[0])[1].startswith(f"{files[0]} at 40, 60 to 60, 120: ")
        # As they are, they are two pictures.
        code, out, _ = run(capsys, "predict", model, *files[1:], "--no_find", "--json")
        assert (code, ["box" in answer for answer in json.loads(out)]) == (0, [False, False])

    def test_empty_pages_are_no_digits(self, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        noise = np.random.default_rng(0).normal(200, 4, (60, 50)).round().astype(np.uint8)
        page, digit = tmp_path / "page.png", tmp_path / "one.png"
        Image.fromarray(noise).save(page)
        noise[10:50, 20:30] = 40
        Image.fromarray(noise).save(digit)
        code, out, err = run(capsys, "predict", model, page, digit, "--as-mnist")
        assert (code, err) == (1, f"grapheme predict: {page}: expected a drawing, got a blank sheet\n")
        assert out.startswith(f"{digit}: ")
        # Without the option a page is a picture like any other.
        assert run(capsys, "predict", model, page)[0] == 0

    def test_lines(self, model: Path, pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
        _, out, _ = run(capsys, "predict", model, pictures / "bar/0.png")
        assert out.startswith(f"{pictures / 'bar/0.png'}: ")
        assert " %), then " in out


class TestWrongUsage:
    def test_unknown_commands(self, capsys: pytest.CaptureFixture[str]) -> None:
        code, _, err = run(capsys, "divine")
        assert code == 2
        assert err == f"grapheme: expected one of {', '.join(COMMANDS)}, got 'divine'\n"
        assert run(capsys)[0] == 2

    def test_unknown_options(self, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit) as stopped:
            main(["info", str(model), "--loud"])
        assert stopped.value.code == 2
        assert "--loud" in capsys.readouterr().err

    def test_missing_models(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        code, out, err = run(capsys, "info", tmp_path)
        assert (code, out, err.count("\n")) == (1, "", 1)
        assert "config.json" in err


# Gradio takes seconds to import.
@pytest.mark.parametrize(
    "command", [pytest.param(it, marks=pytest.mark.slow) if it == "demo" else it for it in COMMANDS]
)
def test_help_of_each_command(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    if command == "demo":
        pytest.importorskip("gradio", reason="an extra")
    with pytest.raises(SystemExit) as stopped:
        main([command, "--help"])
    assert stopped.value.code == 0
    out = capsys.readouterr().out
    assert "--config" in out
    for mark in (r"--[\w.]+_", "Args:", "``", "<class"):
        assert re.search(mark, out) is None


def test_info(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "info", model, "--json")
    facts = json.loads(out)
    assert code == 0
    assert facts["classes"] == ["ring", "bar", "dot"]
    assert facts["weights"] == sum(facts["weights_by_part"].values())
    _, out, _ = run(capsys, "info", model)
    assert "ring, bar, dot" in out


@pytest.mark.parametrize("built", [True, False])
def test_missing_kernels_are_told(
    built: bool, model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("grapheme_pyg.ops.definition.LOADED", built)
    _, out, _ = run(capsys, "info", model, "--json")
    assert json.loads(out)["kernels"].startswith("compiled" if built else "none, computations take the slow path")
    images = torch.randint(256, (12, 8, 8), dtype=torch.uint8)
    network = ImageClassificationModel.from_pretrained(model)
    fit(network, images, torch.arange(12) % 3, settings=TrainingSettings(epochs=1))
    first = capsys.readouterr().out.splitlines()[0]
    assert first.startswith("epoch" if built else "kernels: none, computations take the slow path")


@pytest.mark.slow
def test_evaluate_a_folder(model: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "evaluate", model, pictures, "--json", "--report", tmp_path / "report")
    assert code == 0
    found = json.loads(out)
    network = ImageClassificationModel.from_pretrained(model)
    files = sorted(pictures.glob("*/*.png"))
    labels = network.predict([Image.open(file) for file in files]).labels
    hits = sum(label == file.parent.name for label, file in zip(labels, files, strict=True))
    assert found["accuracy"] == pytest.approx(hits / 6)
    for name in ("report.md", "hardest.png", "predictions.png"):
        assert (tmp_path / "report" / name).is_file()
    code, out, _ = run(capsys, "evaluate", model, pictures, "--report", tmp_path / "report")
    assert (code, out.splitlines()[-1]) == (0, str(tmp_path / "report/report.md"))
    (pictures / "ring").rename(pictures / "square")
    try:
        code, _, err = run(capsys, "evaluate", model, pictures)
        assert code == 1
        assert "['ring', 'bar', 'dot'], got ['bar', 'dot', 'square']" in err
    finally:
        (pictures / "square").rename(pictures / "ring")


def test_settings_from_a_file(model: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["predict", str(model), "x.png", "--views", "3", "--json", "--print_config"])
    shown = capsys.readouterr().out
    assert "views: 3" in shown
    config = tmp_path / "config.yaml"
    config.write_text("views: 3\njson: true\n")
    code, out, _ = run(capsys, "predict", model, pictures / "bar/0.png", "--config", config)
    network = ImageClassificationModel.from_pretrained(model)
    expected = network.predict([Image.open(pictures / "bar/0.png")], views=3)
    assert code == 0
    assert json.loads(out)[0]["confidence"] == pytest.approx(float(expected.confidences[0]))


def test_draw_and_explain(
    model: Path,
    pictures: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from grapheme_pyg.visualization import draw_explanation

    image = pictures / "bar/0.png"
    axes = []

    def drawing(*given: Any) -> Any:
        axes.append(draw_explanation(*given))
        return axes[-1]

    monkeypatch.setattr("grapheme_pyg.cli.explain.draw_explanation", drawing)
    answer = ImageClassificationModel.from_pretrained(model).predict([Image.open(image)], views=1)
    label, confidence = answer.labels[0], f"{100 * answer.confidences.item():.1f} %"
    out = tmp_path / "out.png"
    explained = f"{image}: {label} ({confidence}), explained in {out}\n"
    for options, expected in (
        (("draw", model, "--image", image, "--colour", "relation"), f"{out}\n"),
        (("draw", model, "--image", image, "--color=relation"), f"{out}\n"),
        (("draw", model), f"{out}\n"),
        (("explain", model, image, "--target", "dot"), explained),
    ):
        code, printed, _ = run(capsys, *options, "--out", out)
        assert (code, printed) == (0, expected)
        with Image.open(out) as drawn:
            assert min(drawn.size) > 300
        out.unlink()
    assert axes[0].get_title() == f"predicted {label} ({confidence})\nred for dot, blue against it"
    code, _, err = run(capsys, "explain", model, image, "--target", "square")
    assert code == 1
    assert "target: expected classes of the model, ['ring', 'bar', 'dot'], got ['square']" in err


@pytest.mark.slow
def test_as_a_program(model: Path, pictures: Path) -> None:
    command = [sys.executable, "-m", "grapheme_pyg", "predict", str(model), str(pictures / "dot/1.png"), "--json"]
    finished = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(finished.stdout)[0]["label"] in ("ring", "bar", "dot")
    assert finished.stderr == ""


@pytest.mark.slow
def test_what_is_not_asked_for_is_not_imported(model: Path) -> None:
    code = (
        "import gc, sys; from grapheme_pyg.cli import main; before = set(sys.modules); main();"
        "print('torch' in before, gc.isenabled(), gc.get_freeze_count() > 100_000, *sys.modules)"
    )
    command = [sys.executable, "-c", code, "info", str(model), "--json"]
    last = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1].split()
    # The collector leaves out what was imported, and goes on with all else.
    assert last[:3] == ["False", "True", "True"]
    assert not {"pytorch_lightning", "matplotlib", "networkx", "gradio", "captum", "scipy"} & set(last)


@pytest.mark.parametrize(("given", "expected"), [(None, "passive"), ("active", "active")])
def test_threads_sleep_while_they_wait_unless_told_otherwise(
    given: str | None, expected: str, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["grapheme", "info", str(model)])
    monkeypatch.setattr("gc.freeze", lambda: None)  # this process is not the command's own
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
        monkeypatch.setenv(name, "")  # to be restored afterwards
        monkeypatch.delenv(name)
    if given is not None:
        monkeypatch.setenv("OMP_WAIT_POLICY", given)
    assert main() == 0
    assert os.environ["OMP_WAIT_POLICY"] == expected
    assert ("GOMP_SPINCOUNT" in os.environ) == (given is None)


def test_the_collector_is_left_alone_in_a_process_of_others(
    model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    frozen: list[int] = []  # not counted by the collector, of whose frozen objects some may die meanwhile
    monkeypatch.setattr("gc.freeze", lambda: frozen.append(1))
    run(capsys, "info", model)
    assert (gc.isenabled(), frozen) == (True, [])
    gc.disable()
    try:
        run(capsys, "info", model, "--json")
        assert not gc.isenabled()
    finally:
        gc.enable()


# Three images teach nothing.
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::grapheme_pyg.errors.TrainingWarning")
def test_train_on_a_folder(pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--preset", "tiny", "--settings.epochs", 1, "--settings.batch_size", 2, "--run_dir")
    code, out, _ = run(capsys, "train", pictures, *options, tmp_path / "run")
    assert code == 0
    assert "3 training, 3 validation images" in out
    code, out, _ = run(capsys, "predict", tmp_path / "run/model", pictures / "bar/0.png", "--json")
    assert json.loads(out)[0]["label"] in ("ring", "bar", "dot")
    code, _, err = run(capsys, "train", pictures, *options, tmp_path / "run")
    assert code == 1
    assert "expected a folder without a run" in err
    assert run(capsys, "train", pictures, *options, tmp_path / "grey", "--grey")[0] == 0
    models = [ImageClassificationModel.from_pretrained(tmp_path / name / "model") for name in ("run", "grey")]
    assert [model.vision.in_channels for model in models] == [3, 1]


# The pictures are noise, of which nothing can be learned.
@pytest.mark.filterwarnings("ignore:validation")
def test_train_from_another_model(
    model: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "two").mkdir()
    for name in ("bar", "ring"):
        (tmp_path / "two" / name).symlink_to(pictures / name)
    settings = ("--settings.epochs", 1, "--settings.freeze", '["dag"]')
    options = ("--init", model, "--run-dir", tmp_path / "run", *settings)
    assert run(capsys, "train", tmp_path / "two", *options)[0] == 0
    trained = ImageClassificationModel.from_pretrained(tmp_path / "run" / "model")
    start = ImageClassificationModel.from_pretrained(model)
    assert trained.classes == ["bar", "ring"]
    assert all(torch.equal(*pair) for pair in zip(trained.dag.parameters(), start.dag.parameters(), strict=True))
    code, _, err = run(capsys, "train", tmp_path / "two", *options, "--preset", "small")
    assert code == 1
    assert err.startswith("grapheme train: init: expected none of preset, mode, colour, grey, hidden_channels, size")
