"""Validation accuracy when relations are removed or added, in each mode.

    python benchmarks/studies/relations.py
    python benchmarks/studies/relations.py --modes blob superpixel --train 55000 --epochs 13

"All" leaves no edge, and so one layer of weights; "all between entities" leaves the edges from an entity's node to its
own next one: a model of sets, not of graphs. Relations that are off by default are turned on. Training is on MNIST
without its last 5,000 training images, which are for validation; the test set is not used. Finished runs are kept in
`runs/relations` and not repeated.
"""

import argparse
import re
import sys
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Batch

sys.path.append(str(Path(__file__).parents[1]))  # helpers of all benchmarks
from common import kept, split_mnist, spread

from grapheme_pyg import ImageClassificationModel, TrainingSettings, VisionBrain, fit
from grapheme_pyg.augmentation.dropping import subgraph
from grapheme_pyg.datasets import Split
from grapheme_pyg.evaluation import evaluate

COUNTED = 1000


def named(*relations: str) -> str:
    """Returns a pattern for edge types, written as "source relation target", by their relation."""
    return rf" ({'|'.join(relations)}) "


@dataclass(frozen=True)
class Variant:
    """Relations that are removed or added.

    Attributes:
        words: The relations in words.
        without: A pattern for the edge types to remove; None for none.
        added: A pattern for the edge types to count if none are removed.
        vision: Further arguments of ``VisionBrain``.
    """

    words: str
    without: str | None = None
    added: str = ""
    vision: dict[str, Any] = field(default_factory=dict)


EIGHT = "(north|south)(_east|_west)?|east|west"
SIDES, TOUCHING = ("above", "below", "left_of", "right_of"), ("inside", "contains", "adjacent")
COMMON = (
    Variant("none removed"),
    Variant("all", without=""),
    Variant("all between entities", without=r" (?!self )\w+ "),
    Variant("part of (hierarchy)", without=named(r"\w*part_of")),
    Variant("same contour, added", added=named("same_contour"), vision={"contours": True}),
    Variant("edges and corners, added", added=r"\b(edge|corner)_", vision={"detections": True}),
)
OWN = {
    "grid": (Variant("adjacent, by direction", without=named(f"({EIGHT})_of")),),
    "blob": (
        Variant("joined strokes, by direction", without=named(r"\w+_of_joined")),
        Variant("near strokes, by direction", without=named(r"\w+_of_near")),
        Variant("between blobs", without=named(*SIDES, "near", *TOUCHING)),
    ),
    "superpixel": (Variant("adjacent, by direction and distance", without=named(r"\w+_of_(near|far)")),),
    "hybrid": (
        Variant("cells part of blobs", without=r"^cell\w* part_of (light|dark)"),
        Variant("lateral and touching blobs", without=named(*SIDES, "near", *TOUCHING)),
    ),
}


def matches(vision: VisionBrain, pattern: str) -> Tensor:
    """Returns in which edge types the pattern is found, bool ``[num_edge_types]``."""
    return torch.tensor([re.search(pattern, " ".join(names)) is not None for names in vision.metadata[1]])


class ReducedBrain(VisionBrain):
    """Removes the edges of types in which a pattern is found."""

    def __init__(self, mode: str, without: str | None, **options: Any) -> None:
        super().__init__(mode, **options)
        self._kept = torch.ones(len(self.metadata[1]), dtype=torch.bool) if without is None else ~matches(self, without)

    def _graphs(self, pixels: Tensor, y: Tensor | None) -> Batch:
        batch = super()._graphs(pixels, y)
        return subgraph(batch, torch.ones(len(batch.x), dtype=torch.bool), self._kept[batch.edge_type])


def count(mode: str, variant: Variant, images: Tensor) -> float:
    """Returns the number of edges for an image: of removed or added relations, else of all."""
    vision = VisionBrain(mode, **variant.vision)
    wanted = matches(vision, variant.added if variant.without is None else variant.without)
    return int(wanted[vision.batch(images).edge_type].sum()) / len(images)


def measure(
    mode: str, variant: Variant, seed: int, epochs: int, training: Split, validation: Split
) -> dict[str, float]:
    """Trains a model and returns its accuracy and loss on validation, and the number of edges."""
    torch.manual_seed(seed)
    # With the size of the training images, which `fit` would otherwise set in a copy.
    vision = ReducedBrain(mode, variant.without, resize=training.images.shape[-1], **variant.vision)
    model = ImageClassificationModel(vision)
    fit(model, *training, settings=TrainingSettings(epochs=epochs, seed=seed), verbose=False)
    found = evaluate(model.predict(validation.images).probabilities, validation.labels)
    edges = count(mode, variant, training.images[:COUNTED])
    return {"accuracy": found.accuracy, "loss": found.loss, "edges": edges}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--modes", nargs="+", choices=tuple(OWN), default=list(OWN))
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--train", type=int, default=10_000, metavar="N", help="training images (10,000)")
    parser.add_argument("--runs", type=Path, default=Path("runs/relations"), help="folder for finished runs")
    arguments = parser.parse_args()
    training, validation = split_mnist()
    training = Split(*(part[: arguments.train] for part in training))
    print("| mode | relations | edges for an image | accuracy without them |\n|---|---|---|---|", flush=True)
    for mode in arguments.modes:
        for variant in (*COMMON, *OWN[mode]):
            runs = []
            for seed in arguments.seeds:
                name = re.sub(r"\W+", "-", f"{mode} {variant.words} {arguments.train} {arguments.epochs} {seed}")
                run = partial(measure, mode, variant, seed, arguments.epochs, training, validation)
                runs.append(kept(arguments.runs / f"{name}.json", run))
            accuracy = spread([run["accuracy"] for run in runs])
            print(f"| `{mode}` | {variant.words} | {runs[0]['edges']:,.0f} | {accuracy} |", flush=True)


if __name__ == "__main__":
    main()
