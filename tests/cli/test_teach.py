"""Classes taught and forgotten by the console command."""

import json
import re
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
import torch
from console import run
from PIL import Image

from grapheme_pyg import ImageClassificationModel, TrainingSettings, fit, list_pretrained
from grapheme_pyg.cli import main
from grapheme_pyg.datasets import Split

# Trained a little, the model takes new digits for others.
pytestmark = pytest.mark.filterwarnings("ignore::grapheme_pyg.errors.TrainingWarning")


@pytest.fixture(scope="module")
def trained(small_digits: Split, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of the digits from 0 to 7."""
    torch.manual_seed(0)
    model = ImageClassificationModel.from_preset("tiny", 8)
    known = small_digits.labels < 8
    settings = TrainingSettings(epochs=3, batch_size=32, device="cpu")
    fit(model, small_digits.images[known], small_digits.labels[known], settings=settings, verbose=False)
    folder = tmp_path_factory.mktemp("trained")
    model.save_pretrained(folder)
    return folder


@pytest.fixture
def model(trained: Path, tmp_path: Path) -> Path:
    return shutil.copytree(trained, tmp_path / "model")


@pytest.fixture(scope="module")
def pictures(small_digits: Split, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for each of the other two, of pencil on paper."""
    folder = tmp_path_factory.mktemp("pictures")
    for digit in (8, 9):
        (folder / f"d{digit}").mkdir()
        for i, image in enumerate(small_digits.images[small_digits.labels == digit][:6]):
            Image.fromarray((255 - image).numpy()).save(folder / f"d{digit}" / f"{i}.png")
    return folder


def test_taught_shown_and_forgotten(model: Path, pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = sorted((pictures / "d8").glob("*.png"))
    code, out, _ = run(capsys, "teach", model, *files[:3], "--name", "acht ∞")
    assert code == 0
    assert out == f"acht ∞: 3 examples\n9 classes in {model}\n"
    code, out, _ = run(capsys, "teach", model, files[3], "--name", "acht ∞")
    assert out == f"acht ∞: 1 example\n9 classes in {model}\n"
    _, out, _ = run(capsys, "predict", model, *files[:4], "--json")
    assert [answer["label"] for answer in json.loads(out)] == ["acht ∞"] * 4
    _, out, _ = run(capsys, "info", model, "--json")
    assert json.loads(out)["taught"] == {"acht ∞": 4}
    code, out, _ = run(capsys, "forget", model, "acht ∞")
    assert (code, out) == (0, f"8 classes in {model}\n")
    code, _, err = run(capsys, "forget", model, "acht ∞")
    assert code == 1
    assert "name: expected a class that was taught, one of [], got 'acht ∞'" in err


def test_models_without_classes(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    ImageClassificationModel.from_pretrained("symbols").save_pretrained("my own")
    file = pictures / "d8/0.png"
    for command in (("predict", file), ("explain", file), ("evaluate", pictures)):
        for model, given in (("symbols", "symbols --out FOLDER"), ("my own", "'my own'")):
            code, _, err = run(capsys, command[0], model, command[1])
            assert code == 1
            assert err.endswith(f" teach it some first: grapheme teach {given} --name NAME PICTURES\n")


def test_refused_pictures(model: Path, pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [*pictures.glob("*/*.png")]
    _, out, _ = run(capsys, "predict", model, *files, "--reject", 0.9, "--json")
    refused = [answer["file"] for answer in json.loads(out) if answer["label"] is None]
    assert refused
    _, out, _ = run(capsys, "predict", model, *files, "--reject", 0.9)
    lines = [line for line in out.splitlines() if re.search(r": refused, nearest \d \(.* %\), then \d \(.* %\)$", line)]
    assert [line.partition(": ")[0] for line in lines] == refused


def test_a_folder_for_each_class(
    model: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(pictures, tmp_path / "pictures")
    (folder / "d9" / "broken.png").write_bytes(b"\x89PNG but no more")
    before = {file.name: file.read_bytes() for file in model.iterdir()}
    code, out, err = run(capsys, "teach", model, folder, "--empty", "--out", tmp_path / "mine")
    assert code == 1
    assert "broken.png" in err
    assert out == f"d8: 6 examples\nd9: 6 examples\n2 classes in {tmp_path / 'mine'}\n"
    assert {file.name: file.read_bytes() for file in model.iterdir()} == before
    taught = ImageClassificationModel.from_pretrained(tmp_path / "mine")
    assert taught.classes == ["d8", "d9"]
    answers = [taught.predict([Image.open(file) for file in sorted((pictures / d).glob("*"))]) for d in ("d8", "d9")]
    assert [answer.labels for answer in answers] == [["d8"] * 6, ["d9"] * 6]


def test_what_comes_with_the_package_stays_as_it_is(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    files = sorted((pictures / "d8").glob("*.png"))
    code, _, err = run(capsys, "teach", "mnist-tiny", *files, "--name", "curl")
    assert code == 1
    assert "out: expected a folder for the taught model, as mnist-tiny comes with the package, got none" in err
    code, out, _ = run(capsys, "teach", "mnist-tiny", *files, "--name", "curl", "--out", "mine")
    assert (code, out) == (0, "curl: 6 examples\n11 classes in mine\n")
    assert not Path("mnist-tiny").exists()


def test_nothing_is_made_before_the_input_is_valid(
    model: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture, out = pictures / "d8/0.png", tmp_path / "missing/out"
    (tmp_path / "no model").mkdir()
    (tmp_path / "empty").mkdir()
    before = sorted(tmp_path.rglob("*"))
    for source, files, options in (
        (model, (tmp_path / "missing/picture.png",), ("--name", "curl", "--out", out)),
        (model, (picture,), ("--name", "a\tb", "--out", out)),
        (model, (picture,), ("--out", out)),
        (model, (tmp_path / "empty",), ("--out", out)),
        (tmp_path / "missing/model", (picture,), ("--name", "curl", "--out", out)),
        (tmp_path / "missing/model", (picture,), ("--name", "curl")),
        (tmp_path / "no model", (picture,), ("--name", "curl")),
        (model, (tmp_path / "missing/picture.png",), ("--name", "curl")),
        (model, (picture,), ("--name", "curl", "--empty")),
    ):
        code, stdout, err = run(capsys, "teach", source, *files, *options)
        assert (code, stdout) == (1, "")
        assert ": expected " in err
        assert sorted(tmp_path.rglob("*")) == before
    for source in (tmp_path / "no model", tmp_path / "missing/model", model):
        assert run(capsys, "forget", source, "curl")[0] == 1
        assert sorted(tmp_path.rglob("*")) == before
    assert run(capsys, "teach", model, picture, "--name", "curl", "--out", out)[0] == 0


def test_another_model_is_not_replaced(
    model: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = pictures / "d8/0.png"
    assert run(capsys, "teach", "symbols", picture, "--name", "heart", "--out", tmp_path / "mine")[0] == 0
    for target in (tmp_path / "mine", model, tmp_path):
        before = sorted(tmp_path.rglob("*"))
        code, _, err = run(capsys, "teach", "symbols", picture, "--name", "star", "--out", target)
        assert code == 1
        assert f"out: expected a new or empty folder, got {target}; to teach a model in it more, give it" in err
        assert sorted(tmp_path.rglob("*")) == before
    assert run(capsys, "teach", tmp_path / "mine", picture, "--name", "star", "--out", tmp_path / "mine")[0] == 0
    assert ImageClassificationModel.from_pretrained(tmp_path / "mine").classes == ["heart", "star"]


def test_photographs_are_brought_into_the_form_of_the_page(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for digit in ("d8", "d9"):
        for i in range(4):
            sheet = Image.new("L", (400, 400), 255)
            sheet.paste(Image.open(pictures / digit / f"{i}.png").resize((112, 112)), (80 * i + 20, 260 - 60 * i))
            sheet.save(tmp_path / f"{digit}-{i}.png")
    taught = tmp_path / "taught"
    for digit, out in (("d8", ("symbols", "--out", taught)), ("d9", (taught,))):
        files = [tmp_path / f"{digit}-{i}.png" for i in range(3)]
        assert run(capsys, "teach", *out, *files, "--name", f" {digit} ", "--as-mnist")[0] == 0
    _, found, _ = run(capsys, "predict", taught, tmp_path / "d8-3.png", tmp_path / "d9-3.png", "--as-mnist", "--json")
    assert [answer["label"] for answer in json.loads(found)] == ["d8", "d9"]
    assert run(capsys, "forget", taught, "d8", "d8")[0] == 0
    assert ImageClassificationModel.from_pretrained(taught).classes == ["d9"]


def test_a_class_without_pictures(
    model: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(pictures, tmp_path / "pictures")
    for name in ("none", ".hidden", "__MACOSX"):
        (folder / name).mkdir()
    # Two ways to write the same name; some file systems take them for one.
    for name in ("caf\u00e9", "cafe\u0301"):
        (folder / name).mkdir(exist_ok=True)
        shutil.copy(folder / "d8/0.png", folder / name / f"{len(name)}.png")
    code, out, err = run(capsys, "teach", model, folder)
    counts = "caf\u00e9: 2 examples\nd8: 6 examples\nd9: 6 examples\n"
    assert (code, out) == (1, f"{counts}11 classes in {model}\n")
    assert err == f"grapheme teach: {folder / 'none'}: expected pictures in this folder, got none\n"


def test_another_process_is_faster(
    model: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What it taught after this one had read the model is kept, and each error is reported once."""
    teach = import_module("grapheme_pyg.cli.teach")
    read, faster = teach.read_drawings, [True]

    def slow(*arguments: object, **options: object) -> object:
        if faster.pop() if faster else False:
            assert main(["teach", str(model), str(pictures / "d9/0.png"), "--name", "first"]) == 0
        return read(*arguments, **options)

    monkeypatch.setattr(teach, "read_drawings", slow)
    code, out, err = run(capsys, "teach", model, pictures / "d8/0.png", pictures / "missing.png", "--name", "second")
    assert (code, err.count("missing.png")) == (1, 1)
    assert out.endswith(f"second: 1 example\n10 classes in {model}\n")
    assert ImageClassificationModel.from_pretrained(model).classes[8:] == ["first", "second"]


def test_wrong_names_leave_no_folder(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = run(capsys, "teach", "mnist", pictures)
    assert code == 1
    assert f"expected a folder of a model or one of {', '.join(list_pretrained())}, got 'mnist'\n" in err
    code, _, err = run(capsys, "forget", "symbols", "curl")
    assert (code, err) == (1, "grapheme forget: model: expected a folder of a model, got 'symbols'\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((), "files: expected one folder with a folder for each class, or --name, got /"),
        (("--name", " "), "name: expected the name of a class, got ' '"),
        (("--name", "a\tb"), "expected names without control characters"),
    ],
)
def test_what_cannot_be_taught(
    model: Path, pictures: Path, options: tuple[str, ...], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (model / "config.json").read_bytes()
    code, _, err = run(capsys, "teach", model, *sorted((pictures / "d8").glob("*.png")), *options)
    assert code == 1
    assert expected in err
    assert (model / "config.json").read_bytes() == before


def test_names_of_any_language(model: Path, pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = ["心", "ñandú", "שלום", "شجرة", "🦋", "👩‍👩‍👧"]
    files = sorted((pictures / "d8").glob("*.png"))
    for name, file in zip(names, files, strict=True):
        code, out, _ = run(capsys, "teach", model, file, "--name", name)
        assert (code, out.splitlines()[0]) == (0, f"{name}: 1 example")
    _, out, _ = run(capsys, "predict", model, *files, "--json")
    assert [answer["label"] for answer in json.loads(out)] == names
    for name in names:
        assert run(capsys, "forget", model, name)[0] == 0
    assert ImageClassificationModel.from_pretrained(model).classes == [str(digit) for digit in range(8)]


@pytest.mark.slow
def test_two_processes_do_not_eat_each_others_classes(model: Path, pictures: Path) -> None:
    command = [sys.executable, "-m", "grapheme_pyg", "teach", str(model)]
    running = [
        subprocess.Popen([*command, str(pictures / folder), "--name", f"{folder} {i}"])
        for i in range(2)
        for folder in ("d8", "d9")
    ]
    assert [process.wait(120) for process in running] == [0] * 4
    found = ImageClassificationModel.from_pretrained(model)
    assert set(found.classes[8:]) == {"d8 0", "d9 0", "d8 1", "d9 1"}
