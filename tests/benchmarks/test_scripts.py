"""Each benchmark runs, on a few digits."""

import sys
from importlib import import_module
from pathlib import Path

import common
import example_cnn
import pytest
import speed_scaling
import torch
from PIL import Image

from grapheme_pyg import ImageClassificationModel
from grapheme_pyg.datasets import ImageData, Split

# The script, its options, how many digits it has, and what it prints. RUN is a new folder, MODEL one with a model,
# PICTURES one of digits as pictures.
EVERYDAY = [
    ("example_cnn", "--epochs 1 --run-dir RUN", 60, "epoch   1/1  train loss "),
    ("unknown_images", "--model MODEL --limit 20", 40, "halves, both ways: AUROC "),
    ("sizes", "--model MODEL", 10, "| 112 | "),
    ("taught_digits", "--draws 1", 400, "20 examples: accuracy "),
]
SLOW = [
    ("speed_kernels", "--turns 1", 32, "| subgraphs of a lattice | "),
    ("held_out_classes", "--classes 3 --preset tiny --epochs 1 --runs RUN", 400, "without mean: "),
    ("relations", "--modes superpixel --train 100 --epochs 1 --runs RUN", 200, "edges and corners, added"),
    ("ablations", "--only wide --epochs 1 --seeds 0 1 --runs RUN", 200, "| half as wide again"),
    ("robustness", "--model ours=MODEL --cnn CNN=RUN --picture RUN/a.png", 4, "graph: edges dropped "),
    ("residual_cnn", "PICTURES --epochs 1 --test", 40, "test accuracy "),
    ("export", "--turns 1 --max-size 28 --out RUN.json", 128, "| writing ONNX | "),
    ("speed_steps", "--turns 1", 128, "| step_vs_conv2d_f32 | "),
    ("speed_scaling", "--turns 1", 128, "memory against dense convolutions: "),
    ("speed_throughput", "--turns 1", 400, "| single_image_ms | "),
    ("speed_time_to_99", "--seeds 0", 400, " times sooner than "),
]
if torch.cuda.is_available():
    SLOW.append(("speed_gpu", "", 512, "| bf16-mixed | 1024 | "))
FEWER = {
    "speed_steps": {"BATCH_SIZE": 16, "BATCHES": 2, "CALLS": 1, "PEAK_SIZE": 256, "PEAK_TURNS": 2},
    "speed_scaling": {"SIZES": ((28, 128),), "LARGE": (), "COMPARED": (4, 4)},
    "speed_throughput": {"LARGE": 300, "MIXED": 64, "STEPS": 2, "BUSY_BATCH": 16},
    "speed_time_to_99": {"MOST_EPOCHS": 1, "TRIED": 256},
}


# Digits of little contrast are dark, as they are meant to be.
@pytest.mark.filterwarnings("ignore::grapheme_pyg.errors.ImageWarning")
@pytest.mark.filterwarnings("ignore::grapheme_pyg.errors.TrainingWarning")  # of a few steps
@pytest.mark.parametrize(
    ("name", "options", "number", "printed"),
    [*EVERYDAY, *(pytest.param(*case, marks=pytest.mark.slow) for case in SLOW)],
    ids=[name for name, *_ in EVERYDAY + SLOW],
)
def test_runs(
    name: str,
    options: str,
    number: int,
    printed: str,
    digits: tuple[Split, Split],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    train, test = (Split(split.images[:number], split.labels[:number]) for split in digits)
    script, data = import_module(name), ImageData("mnist", train, test, tuple("0123456789"))
    for module in (script, common, speed_scaling, example_cnn):
        for loader in ("load_mnist", "load_idx_data"):
            if hasattr(module, loader):
                monkeypatch.setattr(module, loader, lambda *_: data)
    monkeypatch.setattr(common, "VALIDATION", number // 10)
    for constant, fewer in FEWER.get(name, {}).items():
        monkeypatch.setattr(script, constant, fewer)
    run, saved = tmp_path / "RUN", tmp_path / "MODEL"
    if "MODEL" in options:
        model = ImageClassificationModel.from_preset("tiny")
        model.remember(*train)
        model.calibrate(*test)
        model.save_pretrained(saved)
    if "PICTURES" in options:
        for part, split in (("train", train), ("test", test)):
            for i, (image, label) in enumerate(zip(*split, strict=True)):
                folder = tmp_path / "PICTURES" / part / str(int(label) % 2)
                folder.mkdir(parents=True, exist_ok=True)
                Image.fromarray(image.numpy()).save(folder / f"{i}.png")
    if name == "robustness":
        run.mkdir()
        example_cnn.save_run(run, example_cnn.ExampleCNN(), 0.5)
    words = [str(tmp_path / word) if word == "PICTURES" else word for word in options.split()]
    words = [word.replace("RUN", str(run)).replace("MODEL", str(saved)) for word in words]
    monkeypatch.setattr(sys, "argv", [f"{name}.py", *words])
    script.main()
    assert printed in capsys.readouterr().out
