"""What torch-scatter buys the path by `message` and `aggregate`, which reduces through PyG's `segment`.

Explainers use that path; training does not, unless `DagNN(fused=False)` asks for it. torch-scatter must be installed.

    python benchmarks/speed_segment.py
"""

import argparse
import copy
from unittest.mock import patch

import torch
import torch_geometric.typing
from speed_steps import Task, graphs_of
from timing import in_turn, show

from grapheme_pyg import ImageClassificationModel
from grapheme_pyg.datasets import load_mnist

WITH = "torch_geometric.typing.WITH_TORCH_SCATTER"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=10, metavar="N", help="how often each is timed (10)")
    turns = parser.parse_args().turns
    if not torch_geometric.typing.WITH_TORCH_SCATTER:
        parser.error("torch-scatter: expected it to be installed, got none")
    torch.manual_seed(0)
    images, labels = (part[:512] for part in load_mnist().train)
    model = ImageClassificationModel.from_preset("base")
    graphs = graphs_of(model.vision, images, labels)
    by_messages = copy.deepcopy(model)
    by_messages.dag.fused = False
    tasks = {
        name: Task(copy.deepcopy(one), graphs, list(labels.split(128)), torch.float32)
        for name, one in {"fused": model, "with torch-scatter": by_messages, "without": by_messages}.items()
    }

    def without() -> None:
        with patch(WITH, new=False):
            tasks["without"]()

    seconds = in_turn({**tasks, "without": without}, turns=turns, calls=3)
    rows = [[name, f"{value / seconds['fused']:.2f}"] for name, value in seconds.items()]
    show("a training step in float32, of the fused one", ["", ""], rows)


if __name__ == "__main__":
    main()
