"""What a model keeps when its graphs change: other topologies without training, other modes after a little.

    python benchmarks/transfer.py

The first table evaluates trained models on graphs that they were not trained for: other numbers of superpixels, other
thresholds, and a hybrid's graphs without one of their two halves. The second starts a model of another mode from the
weights of the edge types that both modes have, found by their names, and trains it on a few digits; beside it stands
one that starts from nothing. Trains on MNIST without its last 5,000 training images, which are for validation; the test
set is not used.
"""

import argparse
from pathlib import Path
from typing import Any

import torch
from graph_corruptions import subgraph
from plain_training import RESULTS, part, split_mnist, write_results
from torch import Tensor
from torch_geometric.data import Batch

from grapheme_pyg import ImageClassificationModel, TrainingSettings, VisionBrain, fit
from grapheme_pyg.datasets import Split
from grapheme_pyg.evaluation import evaluate

# Mode, what changes, and how.
CHANGES: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("grid", "threshold 96 in place of 32", {"threshold": 96}),
    ("grid", "threshold 8", {"threshold": 8}),
    ("superpixel", "50 regions in place of 75", {"num_regions": 50}),
    ("superpixel", "110 regions", {"num_regions": 110}),
    ("superpixel", "rounder ones: compactness 1 in place of 0.25", {"compactness": 1.0}),
    ("blob", "other thresholds: 48, 112, 176, 208", {"thresholds": (48, 112, 176, 208)}),
    ("hybrid", "no blobs", {"without": ("light", "dark")}),
    ("hybrid", "no cells", {"without": ("cell",)}),
)
PAIRS = (("grid", "hybrid"), ("blob", "hybrid"), ("hybrid", "grid"), ("hybrid", "blob"))
# All carry the offsets between entities, and states are of one width, so that weights of one name are of one shape.
COMMON: dict[str, Any] = {"edge_attr": True}
WIDTH = 64


class PartBrain(VisionBrain):
    """Leaves out nodes whose types begin with certain words."""

    def __init__(self, mode: str, without: tuple[str, ...], **options: Any) -> None:
        super().__init__(mode, **options)
        self._kept = torch.tensor([not name.startswith(tuple(without)) for name in self.metadata[0]])

    def _graphs(self, pixels: Tensor, y: Tensor | None) -> Batch:
        batch = super()._graphs(pixels, y)
        return subgraph(batch, self._kept[batch.node_type], torch.ones(batch.num_edges, dtype=torch.bool))


def trained(mode: str, digits: Split, settings: TrainingSettings, start: dict[str, Any] | None = None) -> Any:
    """A model of that mode, from weights of another DagNN as far as their names agree."""
    torch.manual_seed(settings.seed)
    vision = VisionBrain(mode, **COMMON)
    model = ImageClassificationModel(vision, hidden_channels=[WIDTH] * (max(vision.node_levels) + 1))
    if start is not None:
        model.dag.load_state_dict(start, strict=False)
    fit(model, *digits, settings=settings, verbose=False)
    return model


def accuracy(model: ImageClassificationModel, digits: Split) -> float:
    """On validation."""
    return evaluate(model.predict(digits.images).probabilities, digits.labels).accuracy


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--train", type=int, default=20_000, metavar="N", help="training images (20,000)")
    parser.add_argument(
        "--few", type=int, default=1000, metavar="N", help="training images of the second model (1,000)"
    )
    parser.add_argument("--few-epochs", type=int, default=10)
    parser.add_argument("--out", type=Path, default=RESULTS / "transfer.json")
    arguments = parser.parse_args()
    training, validation = split_mnist()
    # The few are others than those that the first model was trained on.
    many, few = part(training, 0, arguments.train), part(training, arguments.train, arguments.train + arguments.few)
    settings = TrainingSettings(epochs=arguments.epochs)
    models = {mode: trained(mode, many, settings) for mode in ("grid", "blob", "superpixel", "hybrid")}
    own = {mode: accuracy(model, validation) for mode, model in models.items()}

    print("| mode | graphs | as trained | changed, without training |\n|---|---|---|---|", flush=True)
    changed = []
    for mode, words, options in CHANGES:
        model = models[mode]
        kept = model.vision
        model.vision = PartBrain(mode, **{"without": ()} | COMMON | options)
        found = accuracy(model, validation)
        model.vision = kept
        changed.append({"mode": mode, "graphs": words, "as_trained": own[mode], "changed": found})
        print(f"| {mode} | {words} | {100 * own[mode]:.2f} % | {100 * found:.2f} % |", flush=True)

    settings = TrainingSettings(epochs=arguments.few_epochs, batch_size=32)
    scratch = {mode: accuracy(trained(mode, few, settings), validation) for mode in ("grid", "blob", "hybrid")}
    print("\n| from | to | from nothing | from those weights |\n|---|---|---|---|", flush=True)
    moved = []
    for source, target in PAIRS:
        model = trained(target, few, settings, models[source].dag.state_dict())
        found = accuracy(model, validation)
        moved.append({"source": source, "target": target, "from_nothing": scratch[target], "from_weights": found})
        print(f"| {source} | {target} | {100 * scratch[target]:.2f} % | {100 * found:.2f} % |", flush=True)
    chosen = {name: getattr(arguments, name) for name in ("epochs", "train", "few", "few_epochs")}
    write_results(arguments.out, {"settings": chosen, "changed": changed, "moved": moved})


if __name__ == "__main__":
    main()
