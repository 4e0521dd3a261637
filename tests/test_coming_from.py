"""What the page "Coming from torchvision, PyG, timm, scikit-learn" tells people to write here: all of it runs."""

import re
import shlex
from copy import deepcopy
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import grapheme_pyg
from grapheme_pyg import DagNN, ImageClassificationModel, datasets, visualization
from grapheme_pyg.cli.parse import parse
from grapheme_pyg.evaluation import evaluate

PAGE = (Path(__file__).parents[1] / "docs" / "coming_from.md").read_text()
RIGHT = [line.rpartition(" | ")[2].removesuffix(" |") for line in PAGE.splitlines() if line.startswith("| ")]
CODE = [code for cell in RIGHT for code in re.findall(r"`([^`]+)`", cell)]
COMMANDS = [code[code.index("grapheme ") :] for code in CODE if code.startswith(("grapheme ", "torchrun "))]
STATEMENTS = [code for code in CODE if "(" in code and not code.startswith("torchrun")]


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Those that the page says that it uses, and what its blocks of code import."""
    root = tmp_path_factory.mktemp("pictures")
    for name in ("one", "another"):
        (root / name).mkdir()
        Image.new("RGB", (20, 20), "white").save(root / name / "1.png")
    data = datasets.load_mnist5k()
    images, labels = (part[:60] for part in data.train)
    model = ImageClassificationModel.from_pretrained("mnist-tiny")
    graph = model.vision(images[0])
    dag = DagNN(model.vision.metadata, model.vision.node_features, 8)
    edge_index, edge_type, node_type, level = graph.edge_index, graph.edge_type, graph.node_type, graph.level
    plan = dag.plan(edge_index, edge_type, node_type, level)
    everything = {name: getattr(grapheme_pyg, name) for name in grapheme_pyg.__all__}
    everything |= {name: getattr(datasets, name) for name in datasets.__all__}
    everything |= {"load_mnist": datasets.load_mnist5k}  # the real one may need a network
    everything |= {"to_networkx": visualization.to_networkx, "evaluate": evaluate, "torch": torch}
    own = {"root": root, "images": images, "labels": labels, "names": data.classes, "model": model, "graph": graph}
    own |= {"batch": graph, "dag": dag, "x": graph.x, "plan": plan, "edge_index": edge_index}
    return everything | own | {"edge_type": edge_type, "node_type": node_type, "level": level}


def test_the_columns_are_found() -> None:
    assert len(RIGHT) > 50
    assert "model.predict(images).labels" in STATEMENTS
    assert "grapheme evaluate MODEL FOLDER" in COMMANDS


@pytest.mark.parametrize("statement", dict.fromkeys(STATEMENTS))
def test_statements(statement: str, names: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    exec(statement, names | {"model": deepcopy(names["model"])})


@pytest.mark.parametrize("line", dict.fromkeys(COMMANDS))
def test_commands(line: str) -> None:
    _, command, *arguments = shlex.split(line)
    function = getattr(import_module(f"grapheme_pyg.cli.{command}"), command)
    # Its arguments are read, and nothing is run.
    assert callable(parse(function, f"grapheme {command}", arguments))
