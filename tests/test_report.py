import json
import re

import matplotlib as mpl
import numpy as np
import pytest
import torch

from grapheme_pyg import ImageClassificationModel, VisionBrain

mpl.use("Agg")

from matplotlib import pyplot as plt

from grapheme_pyg.report import write_report

FILES = {"evaluation.json", "confusion.png", "calibration.png", "hardest.png", "report.md"}


def arguments():
    """Four images, of which the third is taken for the second class."""
    images = torch.zeros(4, 12, 12, dtype=torch.uint8)
    for i in range(4):
        images[i, 2 * i : 2 * i + 2, 3:9] = 255
    return {
        "name": "strokes, test images",
        "probabilities": torch.tensor([[0.9, 0.1], [0.1, 0.9], [0.2, 0.8], [0.6, 0.4]]),
        "images": images,
        "labels": torch.tensor([0, 1, 0, 0]),
        "vision": VisionBrain(),
        "classes": ["up", "down"],
    }


def test_writes_numbers_and_pictures(tmp_path):
    folder = tmp_path / "runs" / "first"
    evaluation = write_report(folder, **arguments(), hardest=2)
    assert {path.name for path in folder.iterdir()} == FILES
    assert plt.get_fignums() == []
    written = json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))
    assert written == {"name": "strokes, test images", "classes": ["up", "down"]} | evaluation.summary()
    assert evaluation.accuracy == 0.75
    assert evaluation.hardest.tolist() == [2, 3]
    for path in folder.glob("*.png"):
        pixels = plt.imread(path)
        assert min(pixels.shape[:2]) > 200
        # One number for each colour, which is far faster than to compare rows.
        levels = (255 * pixels[:, :, :3]).round().astype(np.int64)
        assert len(np.unique(levels @ [1 << 16, 1 << 8, 1])) > 20


def test_a_report_overwrites_its_own_files_alone_and_shows_them(tmp_path):
    (tmp_path / "metrics.csv").write_text("epoch\n")
    for name in FILES:
        (tmp_path / name).write_text("of another report")
    evaluation = write_report(tmp_path, **arguments())
    assert "of another report" not in {path.read_bytes().decode(errors="ignore") for path in tmp_path.iterdir()}
    assert (tmp_path / "metrics.csv").read_text() == "epoch\n"
    assert {path.name for path in tmp_path.iterdir()} == FILES | {"metrics.csv"}
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert text.startswith("# strokes, test images\n")
    assert "| images | 4 |" in text
    assert "| accuracy | 75.00 % |" in text
    assert "| mistakes | 1 |" in text
    assert f"| mean negative log-likelihood | {evaluation.loss:.4f} nats |" in text
    assert f"| expected calibration error (15 bins) | {100 * evaluation.calibration_error:.2f} % |" in text
    assert "up → down (1)." in text
    assert "from 0: 2, 3, 0, 1." in text
    links = re.findall(r"\]\((.*?)\)", text)
    assert set(links) | {"report.md"} == FILES  # relative: the folder may be moved


def test_no_mistakes(tmp_path):
    write_report(tmp_path, **arguments() | {"labels": torch.tensor([0, 1, 1, 0])})
    assert "the most frequent first: none." in (tmp_path / "report.md").read_text(encoding="utf-8")


def test_lists_the_most_frequent_confusions_first(tmp_path):
    labels = torch.tensor([0, 1, 1, 2, 2, 2, 0])
    guesses = torch.tensor([0, 2, 2, 0, 1, 0, 1])
    write_report(
        tmp_path,
        name="seven",
        probabilities=torch.eye(3)[guesses],
        images=[np.zeros((4 + i, 4), np.uint8) for i in range(7)],
        labels=labels,
        vision=VisionBrain(),
        classes=["a", "b", "c"],
    )
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "first: b → c (2), c → a (2), a → b (1), c → b (1)." in text


def test_of_a_model(tmp_path):
    given = arguments()
    model = ImageClassificationModel(given["vision"], given["classes"], hidden_channels=(4, 4, 4)).eval()
    with torch.no_grad():
        given["probabilities"] = model(model.vision.batch(given["images"])).softmax(dim=1)
    evaluation = write_report(tmp_path, **given)
    right = given["probabilities"].argmax(dim=1) == given["labels"]
    assert evaluation.accuracy == right.double().mean()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"images": torch.zeros(3, 12, 12)}, "images: expected 4, as many as labels, got 3"),
        ({"classes": ["up"]}, "classes: expected 2 names, one for each column of probabilities, got 1"),
        ({"labels": torch.tensor([0, 1, 0, 2])}, r"labels: expected classes in \[0, 2\), got 0…2"),
        ({"hardest": 0}, "hardest: expected a positive integer, got 0"),
    ],
)
def test_wrong_arguments_write_nothing(tmp_path, changed, message):
    with pytest.raises(ValueError, match=message):
        write_report(tmp_path / "run", **arguments() | changed)
    assert not (tmp_path / "run").exists()
