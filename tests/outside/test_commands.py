"""The command on other people's consoles, names, pictures and data."""

import csv
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from console import run
from PIL import Image
from systems import needs_linux, needs_posix

from grapheme_pyg import ImageClassificationModel
from grapheme_pyg.cli import main
from grapheme_pyg.datasets import load_mnist5k
from grapheme_pyg.training import TrainingSettings

BAR = np.zeros((28, 28), np.uint8)
BAR[4:24, 12:16] = 255


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("model")
    ImageClassificationModel.from_preset("tiny", ["猫", "犬", "café"]).save_pretrained(folder)
    return folder


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    for name in ("one.png", "more/two.jpg", "more/.hidden.png", "@eaDir/thumbnail.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(BAR).save(folder / name)
    (folder / "more/notes.txt").write_text("no picture")
    return folder


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-8"])
@needs_linux
def test_consoles_that_cannot_show_a_name(
    model: Path, pictures: Path, encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """winml-cli#545, cmcp#396: all answers were lost. And python-magic#144: a file name that is not UTF-8."""
    other = os.fsdecode(b"caf\xe9.png")
    Image.fromarray(BAR).save(pictures / other)
    files = (pictures / "one.png", pictures / other)

    def shown(*options: str) -> str:
        console = io.BytesIO()
        with io.TextIOWrapper(console, encoding=encoding) as stream:
            monkeypatch.setattr(sys, "stdout", stream)
            assert main(["predict", str(model), *map(str, files), *options]) == 0
            stream.flush()
            return console.getvalue().decode(encoding)

    lines = shown().splitlines()
    assert len(lines) == 2
    assert lines[1].startswith(f"{pictures}/caf\\udce9.png: ")
    answers = json.loads(shown("--json"))
    assert [answer["file"] for answer in answers] == [str(file) for file in files]
    assert {answer["label"] for answer in answers} <= {"猫", "犬", "café"}


@needs_posix
def test_names_cannot_speak_to_the_terminal(model: Path, pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """internetarchive#284."""
    name = pictures / "\x1b[2Jred\nthing.png"
    Image.fromarray(BAR).save(name)
    code, out, err = run(capsys, "predict", model, name, pictures / "missing\x1b.png")
    assert (code, out.count("\n"), err.count("\n")) == (1, 1, 1)
    assert "\x1b" not in out + err
    assert "\\x1b[2Jred\\nthing.png: " in out


def test_names_may_begin_with_dashes(
    model: Path, pictures: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(pictures)
    for name in ("-x.png", "--as-mnist", "--a-b.png"):
        Image.fromarray(BAR).save(name, format="png")
    code, out, _ = run(capsys, "predict", "--top-k", 1, model, "--", "-x.png", "--as-mnist", "--a-b.png")
    assert code == 0
    assert [line.partition(": ")[0] for line in out.splitlines()] == ["-x.png", "--as-mnist", "--a-b.png"]


class TestPredictMany:
    def test_folders_and_patterns(self, model: Path, pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
        expected = [pictures / "more/two.jpg", pictures / "one.png"]
        for given, files in (
            ([pictures], expected),
            ([pictures / "*.png"], expected[1:]),
            ([pictures / "**/*.jpg", pictures / "one.png"], expected),
        ):
            code, out, _ = run(capsys, "predict", model, *given, "--json")
            assert code == 0
            assert [answer["file"] for answer in json.loads(out)] == [str(file) for file in files]
        (pictures / "empty").mkdir()
        code, _, err = run(capsys, "predict", model, pictures / "empty", pictures / "*.gif")
        assert (code, err.count("\n")) == (1, 2)
        assert "empty: expected pictures in this folder, got none" in err

    def test_tables_and_lines(
        self, model: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (pictures / "three.png").write_bytes(b"broken")
        table, lines = tmp_path / "out.csv", tmp_path / "out.jsonl"
        options = ("--csv", table, "--json-lines", lines, "--top-k", 3)
        code, out, err = run(capsys, "predict", model, pictures, *options)
        assert (code, out, err.count("\n")) == (1, "", 1)
        with table.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        objects = [json.loads(line) for line in lines.read_text().splitlines()]
        files = [str(pictures / name) for name in ("more/two.jpg", "one.png", "three.png")]
        assert [row["file"] for row in rows] == [found["file"] for found in objects] == files
        for row, found in zip(rows[:2], objects[:2], strict=True):
            assert [row["label"], row["label_2"], row["label_3"]] == [one["label"] for one in found["top"]]
            assert sorted([row["label"], row["label_2"], row["label_3"]]) == ["café", "犬", "猫"]
            assert sum(one["confidence"] for one in found["top"]) == pytest.approx(1)
            assert float(row["confidence_2"]) == found["top"][1]["confidence"]
        assert set(objects[2]) == {"file", "error"}
        assert rows[2]["error"] == objects[2]["error"]
        assert rows[2]["label"] == ""
        code, _, err = run(capsys, "predict", model, pictures, "--csv", pictures / "one.png")
        assert code == 1
        assert "csv: expected another file than the picture" in err
        code, _, err = run(capsys, "predict", model, pictures, "--csv", lines, "--json-lines", lines)
        assert "csv: expected another file than json_lines" in err
        code, _, err = run(capsys, "predict", model, pictures, "--top-k", 4)
        assert "top_k: expected an integer in 1…3, got 4" in err

    def test_what_was_answered_is_there_when_a_run_is_stopped(
        self, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """MegaDetector#28."""
        for i in range(5):
            Image.fromarray(BAR).save(tmp_path / f"{i}.png")
        monkeypatch.setattr("grapheme_pyg.cli.predict.AT_ONCE", 2)
        predict, calls = ImageClassificationModel.predict, []

        def stopping(self, *arguments, **options):
            calls.append(len(arguments[0]))
            if len(calls) == 3:
                raise KeyboardInterrupt
            return predict(self, *arguments, **options)

        monkeypatch.setattr(ImageClassificationModel, "predict", stopping)
        code, _, _ = run(capsys, "predict", model, tmp_path, "--csv", tmp_path / "out.csv")
        assert (code, calls) == (130, [2, 2, 1])
        assert len((tmp_path / "out.csv").read_text().splitlines()) == 1 + 4

    @pytest.mark.slow
    def test_a_warning_about_many_pictures_is_one_line(self, model: Path, tmp_path: Path) -> None:
        """Pillow#5991, in a process and on a console of its own."""
        for i in range(3):
            Image.fromarray(BAR.astype(np.uint16) * 16).save(tmp_path / f"{i}.png")
        command = [sys.executable, "-m", "grapheme_pyg", "predict", str(model), str(tmp_path)]
        environment = os.environ | {"PYTHONIOENCODING": "cp1252"}
        found = subprocess.run(command, capture_output=True, env=environment, check=False)
        assert (found.returncode, found.stdout.count(b"\n")) == (0, 3)
        assert found.stderr.decode().splitlines() == [
            "grapheme predict: warning: images: grey levels of 16 bits use 12 bits only: 4,095 is taken for white"
        ]


def test_classes_are_matched_by_their_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """pytorch/vision#714: folders are sorted by name, and so may the classes of a model be."""
    torch.manual_seed(0)
    classes = [str(i) for i in (3, 1, 4, 0, 5, 9, 2, 6, 8, 7)]
    model = ImageClassificationModel.from_preset("tiny", classes)
    model.save_pretrained(tmp_path / "model")
    test = load_mnist5k().test
    hits = sum(
        label == str(int(y)) for label, y in zip(model.eval().predict(test.images).labels, test.labels, strict=True)
    )
    code, out, _ = run(capsys, "evaluate", tmp_path / "model", "mnist5k", "--json")
    assert code == 0
    assert json.loads(out)["accuracy"] == pytest.approx(hits / len(test.labels))
    words = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
    ImageClassificationModel.from_preset("tiny", words).save_pretrained(tmp_path / "words")
    code, out, err = run(capsys, "evaluate", tmp_path / "words", "mnist5k")
    assert (code, out) == (1, "")
    assert f"expected classes of the model, {words}, got {list('0123456789')}" in err


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"seed": 1},
        {"lr": 0.01},
        {"epochs": 3},
        {"batch_size": 7},
        {"kernel_lr": 0.1},
        {"flip": 0.0},
        {"weight_decay": 0.0},
    ],
    ids=str,
)
def test_one_setting_changes_no_other(given: dict[str, int]) -> None:
    settings = TrainingSettings(**given)
    suited = {
        (100, False): (75, 64, 0.02, 0, 0.05, 0.0),
        (200, True): (38, 64, 0.03, 0.5, 0.01, 0.1),
        (10, True): (100, 64, 0.03, 0.5, 0.01, 0.1),
        (9_999, False): (40, 64, 0.02, 0, 0.05, 0.0),
        (9_999, True): (12, 64, 0.03, 0.5, 0.01, 0.1),
        (10_000, False): (13, 128, 0.02, 0, 0.05, 0.0),
        (10_000, True): (30, 128, 0.03, 0.5, 0.01, 0.1),
    }
    names = ("epochs", "batch_size", "kernel_lr", "flip", "weight_decay", "label_smoothing")
    for (count, in_colour), values in suited.items():
        found = settings.for_images(count, in_colour=in_colour)
        for name, value in zip(names, values, strict=True):
            assert getattr(found, name) == given.get(name, value)
        assert found.for_images(1, in_colour=False) == found


def test_settings_of_the_command_are_those_of_python(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    monkeypatch.setattr("grapheme_pyg.cli.train.train_run", lambda *_, settings, **__: seen.append(settings))
    for options in ((), ("--settings.seed", 1)):
        run(capsys, "train", "mnist5k", "--no_test", "--run_dir", tmp_path, *options)
    assert seen == [TrainingSettings(), TrainingSettings(seed=1)]


def test_options_with_dashes_or_underscores(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    monkeypatch.setattr(
        "grapheme_pyg.cli.train.train_run", lambda *_, settings, **others: seen.append((settings, others["run_dir"]))
    )
    options = ("--no-test", "--run-dir", tmp_path / "a_b-c", "--settings.kernel-lr", 0.1, "--settings.batch-size=7")
    underscored = [str(it).replace("-", "_").replace("__", "--", 1) if str(it)[:2] == "--" else it for it in options]
    assert underscored != list(options)
    for given in (options, underscored):
        assert run(capsys, "train", "mnist5k", *given)[0] == 0
    assert seen == [(TrainingSettings(kernel_lr=0.1, batch_size=7), tmp_path / "a_b-c")] * 2
    with pytest.raises(SystemExit):
        main(["train", "mnist5k", "--kernel_lr", "0.1"])
    assert "unrecognized arguments: --kernel-lr" in capsys.readouterr().err


def test_an_option_is_given_once(pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All pictures would be taught as the last of the names."""
    picture, out = str(pictures / "one.png"), str(tmp_path / "out")
    with pytest.raises(SystemExit) as stopped:
        main(["teach", "symbols", picture, "--name", "a", picture, "--name=b", "--out", out])
    assert stopped.value.code == 2
    assert "--name: expected it once, got it 2 times" in capsys.readouterr().err
    assert not Path(out).exists()


@pytest.mark.parametrize("command", ["draw", "explain"])
def test_a_picture_is_not_drawn_over(
    command: str, model: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = pictures / "one.png"
    before = sorted(pictures.rglob("*")), picture.read_bytes()
    options = ("--image", picture) if command == "draw" else (picture,)
    for name, expected in (
        ("more/../one.png", "another file than the picture"),
        ("one", "another file than the picture"),
        ("more", "a file, got the folder"),
    ):
        code, _, err = run(capsys, command, model, *options, "--out", pictures / name)
        assert code == 1
        assert f"out: expected {expected}" in err
        assert (sorted(pictures.rglob("*")), picture.read_bytes()) == before
    code, out, _ = run(capsys, command, model, *options, "--out", pictures / "two")
    assert (code, (pictures / "two.png").is_file()) == (0, True)
    assert f"{pictures / 'two.png'}\n" in out


@pytest.mark.parametrize(
    "command",
    [
        "predict MODEL PICTURE --csv OUT",
        "predict MODEL PICTURE --json-lines OUT",
        "draw MODEL --out OUT",
        "draw MODEL --image PICTURE --out OUT",
        "explain MODEL PICTURE --out OUT",
        "export MODEL OUT",
        "export MODEL OUT --format program",
    ],
)
def test_a_model_is_not_written_over(
    command: str, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, link = tmp_path / "model", tmp_path / "link.json"
    ImageClassificationModel.from_preset("tiny", 2).save_pretrained(model)
    link.symlink_to(model / "config.json")
    before = {file: file.read_bytes() for file in model.iterdir()}

    def refused(out: Path) -> str:
        names = {"MODEL": model, "PICTURE": pictures / "one.png", "OUT": out}
        code, printed, err = run(capsys, *(names.get(word, word) for word in command.split()))
        assert (code, printed) == (1, "")
        return err

    shutil.copytree(model, other := tmp_path / "other")
    for out in (*before, link, *other.iterdir()):
        assert f"expected another file than those of a model, got {out}\n" in refused(out)
    assert "expected a file, got the folder" in refused(model)
    assert "expected a file in a folder that exists" in refused(tmp_path / "none/out.png")
    assert {file: file.read_bytes() for file in model.iterdir()} == before


def test_training_spares_what_it_reads(model: Path, pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (model.parent / "run").mkdir()
    (model.parent / "run/model").symlink_to(model)
    before = (model / "config.json").read_bytes()
    for options, expected in (
        (("--init", model, "--run-dir", model.parent / "run"), "another folder than that of init"),
        (("--val", pictures / "more", "--run-dir", pictures / "more/run"), "a folder outside of the pictures in"),
    ):
        code, _, err = run(capsys, "train", "mnist", *options)
        assert code == 1
        assert err.startswith(f"grapheme train: run_dir: expected {expected}")
    assert (model / "config.json").read_bytes() == before
    assert not (pictures / "more/run").exists()


def test_a_refused_argument_leaves_files_as_they_are(
    model: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("--csv", "--json-lines"):
        for option, value in (("--reject", 2), ("--views", 99), ("--top-k", 99)):
            (tmp_path / "answers").write_text("of yesterday")
            code, _, err = run(capsys, "predict", model, pictures, name, tmp_path / "answers", option, value)
            assert code == 1
            assert f"{option[2:].replace('-', '_')}: expected " in err
            assert (tmp_path / "answers").read_text() == "of yesterday"


def test_a_refused_training_leaves_no_folder(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Image.fromarray(BAR).save(pictures / "more/three.png")
    before = sorted(tmp_path.rglob("*"))
    for options in ((), ("--run-dir", "results/run")):
        code, _, err = run(capsys, "train", "pictures", "--settings.loss", "structural", *options)
        assert code == 1
        assert "loss: expected at least two classes for 'structural', got ['more']" in err
        assert sorted(tmp_path.rglob("*")) == before
    for command in (("train", "mnst"), ("evaluate", "mnist-tiny", "mnst")):
        code, _, err = run(capsys, *command)
        assert code == 1
        assert "data: expected a folder or one of cifar10, " in err
        assert err.endswith(", omniglot, got 'mnst'\n")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("train", "x", "--preset", "huge"), "--preset: expected one of 'base', 'small', 'mini', 'tiny', got 'huge'"),
        (("train", "x", "--settings.lr", "x"), "--settings.lr: expected a number, got 'x'"),
        (("train", "x", "--settings.batch_size", "1.5"), "--settings.batch-size: expected an integer, got '1.5'"),
        (("train", "x", "--settings.augment", "x"), "--settings.augment: expected true or false, got 'x'"),
        (("train", "x", "--settings.freeze", "x"), "--settings.freeze: expected a list such as [a,b], got 'x'"),
        (("train", "x", "--hidden-channels", "8"), "--hidden-channels: expected a list such as [8,16], got '8'"),
        (("predict", "x", "x", "--top-k", "two"), "--top-k: expected an integer, got 'two'"),
        (
            ("explain", "x", "x", "--method", "x"),
            "--method: expected one of 'gradient', 'integrated', 'gnnexplainer', got 'x'",
        ),
    ],
)
def test_values_of_a_wrong_type(arguments: tuple[str, ...], expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert capsys.readouterr().err.endswith(f"error: {expected}\n")


def test_a_config_that_is_no_text(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "config.yaml").write_bytes(b"views: \xff")
    with pytest.raises(SystemExit):
        main(["predict", str(model), "x.png", "--config", str(tmp_path / "config.yaml")])
    assert "error: --config: expected a file in UTF-8, got other bytes" in capsys.readouterr().err
