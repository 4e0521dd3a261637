"""The tasks of Omniglot's benchmark are those that were published, and are counted rightly."""

import sys
import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
import omniglot
import pytest
import torch
from PIL import Image, ImageDraw

from grapheme_pyg.datasets import Omniglot, Split

PEOPLE = 20


def made(characters: dict[str, int], people: int = PEOPLE) -> Omniglot:
    """Drawings of so many characters of each alphabet, each pixel of which says which drawing it is."""
    names = [f"{alphabet}/character{i + 1:02d}" for alphabet, count in characters.items() for i in range(count)]
    labels = torch.arange(len(names)).repeat_interleave(people)
    alphabets = torch.arange(len(characters)).repeat_interleave(torch.tensor(list(characters.values())))
    images = torch.arange(len(labels)).to(torch.uint8)[:, None, None].expand(-1, 105, 105)
    return Omniglot(
        "omniglot",
        Split(images, labels),
        Split(images[:0], labels[:0]),
        tuple(names),
        alphabets=tuple(characters),
        alphabet=alphabets.repeat_interleave(people),
        person=torch.arange(people).repeat(len(names)),
    )


def test_a_part_has_the_drawings_of_its_alphabets() -> None:
    part = omniglot.part(made({"A": 1, "B": 2, "C": 1}, people=2), ["C", "B"])
    assert part.classes == ("B/character01", "B/character02", "C/character01")
    assert part.train.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert part.train.images[:, 0, 0].tolist() == [2, 3, 4, 5, 6, 7]
    assert part.alphabets == ("B", "C")
    assert part.alphabet.tolist() == [0, 0, 0, 0, 1, 1]
    assert part.person.tolist() == [0, 1, 0, 1, 0, 1]
    with pytest.raises(ValueError, match=r"^alphabets: expected some of A, got 'D'$"):
        omniglot.part(made({"A": 1}), ["D"])


def test_rotations_are_classes() -> None:
    images = torch.tensor([[[1, 2], [3, 4]], [[5, 5], [5, 5]]], dtype=torch.uint8)
    turned, labels = omniglot.turned(images, torch.tensor([0, 1]))
    assert labels.tolist() == [0, 1, 2, 3, 4, 5, 6, 7]
    assert [image.tolist() for image in turned[::2]] == [
        [[1, 2], [3, 4]],
        [[2, 4], [1, 3]],
        [[4, 3], [2, 1]],
        [[3, 1], [4, 2]],
    ]


def test_tasks_within_alphabets() -> None:
    data = made({"small": 3, "large": 25, "larger": 30})
    tasks = omniglot.within_alphabets(data, 6, torch.Generator().manual_seed(0))
    for number, (examples, queries, classes) in enumerate(tasks):
        assert examples.shape == (20, 1)
        assert classes.tolist() == list(range(20))
        assert torch.equal(data.train.labels[examples[:, 0]], data.train.labels[queries])
        assert len(data.train.labels[queries].unique()) == 20
        assert set(data.alphabet[queries].tolist()) == {1 + number % 2}
        (teacher,), (pupil,) = (data.person[some].unique().tolist() for some in (examples, queries))
        assert teacher != pupil
    with pytest.raises(ValueError, match="expected an alphabet of at least 20 characters, got 3"):
        omniglot.within_alphabets(made({"small": 3}), 1, torch.Generator())


def test_tasks_between_alphabets() -> None:
    labels = torch.arange(7).repeat(20)
    tasks = omniglot.between_alphabets(labels, 5, 5, 3, torch.Generator().manual_seed(0))
    assert len(tasks) == 3
    for examples, queries, classes in tasks:
        assert examples.shape == (5, 5)
        own = labels[examples]
        assert bool((own == own[:, :1]).all())
        assert len(own[:, 0].unique()) == 5
        assert torch.equal(labels[queries], own[classes, 0])
        assert len(torch.cat([examples.flatten(), queries]).unique()) == 5 * 20
    with pytest.raises(ValueError, match="expected 20 classes of at least 16 drawings, got 7"):
        omniglot.between_alphabets(labels, 20, 1, 1, torch.Generator())


def test_accuracy_by_hand() -> None:
    embeddings = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, -1.0], [1.0, 0.0], [0.0, 1.0], [0.8, -0.6]])
    # The mean of the first class points to (0.89, 0.45), that of the second to (0.32, −0.95).
    task = omniglot.Task(torch.tensor([[0, 1], [2, 5]]), torch.tensor([3, 4, 5, 5]), torch.tensor([0, 0, 1, 0]))
    assert omniglot.accuracy(embeddings, [task]) == 0.75
    assert omniglot.accuracy(embeddings, [task, task._replace(classes=torch.tensor([0, 0, 1, 1]))]) == 0.875


def test_published_runs(tmp_path: Path) -> None:
    for run in ("run01", "run02"):
        for kind, names in (("training", ("class01", "class02")), ("test", ("item01", "item02", "item03"))):
            (tmp_path / "all_runs" / run / kind).mkdir(parents=True)
            for level, name in enumerate(names):
                image = Image.fromarray(np.full((105, 105), 10 * len(names) + level, np.uint8))
                image.save(tmp_path / "all_runs" / run / kind / f"{name}.png")
        pairs = [("item01", "class02"), ("item02", "class01"), ("item03", "class02")]
        lines = [f"{run}/test/{item}.png {run}/training/{label}.png" for item, label in pairs]
        (tmp_path / "all_runs" / run / "class_labels.txt").write_text("\n".join(lines) + "\n")
    images, tasks = omniglot.published_runs(tmp_path)
    assert len(tasks) == 2
    examples, queries, classes = tasks[1]
    assert images[examples[:, 0], 0, 0].tolist() == [20, 21]
    assert images[queries, 0, 0].tolist() == [30, 31, 32]
    assert classes.tolist() == [1, 0, 1]
    with pytest.raises(ValueError, match=r"runs: expected a folder of runs with class_labels\.txt"):
        omniglot.published_runs(tmp_path / "all_runs/run01/test")


def test_an_encoder_is_trained_and_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    generator = np.random.default_rng(0)
    with zipfile.ZipFile(tmp_path / "drawings.zip", "w") as archive:
        for character in range(20):
            line = generator.integers(20, 85, 8)
            for person in range(1, 17):
                image = Image.new("1", (105, 105), 1)
                points = (line + generator.integers(-2, 3, 8)).tolist()
                ImageDraw.Draw(image).line(points, fill=0, width=3)
                content = BytesIO()
                image.save(content, "PNG")
                name = f"character{character + 1:02d}/{character:04d}_{person:02d}.png"
                for alphabet in ("Lines", "Others"):
                    archive.writestr(f"{alphabet}/{name}", content.getvalue())
    monkeypatch.setattr(omniglot, "SHOTS", (1,))
    monkeypatch.setattr(omniglot, "TAUGHT_SHOTS", (2,))
    monkeypatch.setattr(omniglot, "TUNING_STEPS", 2)
    command = ["omniglot.py", str(tmp_path / "drawings.zip"), "--tasks", "2", "--episodes", "2"]
    training = ["--train", str(tmp_path / "model"), "--alphabets", "Lines", "--epochs", "1"]
    outputs = []
    for options in (training, ["--model", str(tmp_path / "model"), "--alphabets", "Lines"]):
        monkeypatch.setattr(sys, "argv", [*command, *options])
        omniglot.main()
        outputs.append([line for line in capsys.readouterr().out.splitlines() if "examples" in line or "tasks" in line])
    assert outputs[0] == outputs[1]
    assert [line.split(":")[0] for line in outputs[0]] == [
        "within an alphabet, 2 tasks made of 1 alphabets",
        "between alphabets, 5-way, examples 1",
        "between alphabets, 20-way, examples 1",
        "10 characters taught, examples 2, reject 0.02 / 0.05 / 0.1",
    ]
