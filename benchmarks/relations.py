"""What each relation brings, in each mode: edges for an image, and accuracy of a model that is trained without them.

    python benchmarks/relations.py
    python benchmarks/relations.py --modes blob superpixel --train 55000 --epochs 11

"All" leaves no edge, and so one layer of weights; "all between entities" leaves the edges from an entity's node to its
own next one, so that features still arrive at the readout: a model of sets, not of graphs. Relations that are off by
default are turned on, and compared with the defaults. Trains on MNIST without its last 5,000 training images, which are
for validation; the test set is not used.
What is finished is kept in `runs/relations` and not done again.
"""

import argparse
import json
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from graph_corruptions import subgraph
from plain_training import RESULTS, part, split_mnist, spread, write_results
from torch import Tensor
from torch_geometric.data import Batch

from grapheme_pyg import ImageClassificationModel, TrainingSettings, VisionBrain, fit
from grapheme_pyg.datasets import Split
from grapheme_pyg.evaluation import evaluate

COUNTED = 1000


def named(*relations: str) -> str:
    """A pattern for edge types, written as "source relation target", by their relation."""
    return rf" ({'|'.join(relations)}) "


EIGHT = named("(north|south)(_east|_west)?_of", "east_of", "west_of")
BETWEEN_BLOBS = named("above", "below", "left_of", "right_of", "near", "inside", "contains", "adjacent")


@dataclass(frozen=True)
class Variant:
    """Relations that are left out, or more of them.

    Attributes:
        words: What they are.
        without: A pattern for edge types; of all in which it is found no edge is kept.
        only: The same, for counting edges of relations that are not left out.
        vision: Further arguments of ``VisionBrain``.
    """

    words: str
    without: str | None = None
    only: str | None = None
    vision: dict[str, Any] = field(default_factory=dict)


DEFAULT = Variant("the defaults")
SET = Variant("all between entities", without=r" (?!self )\w+ ")
NONE = Variant("all", without="")
EXTRAS = (
    Variant("same contour, in addition", only=named("same_contour"), vision={"contours": True}),
    Variant("edges and corners, in addition", only=r"\b(edge|corner)_", vision={"detections": True}),
)
PARTS = Variant("part of (hierarchy)", without=named(r"\w*part_of"))
VARIANTS: dict[str, tuple[Variant, ...]] = {
    "grid": (DEFAULT, NONE, SET, Variant("adjacent, by direction", without=EIGHT), PARTS, *EXTRAS),
    "blob": (
        DEFAULT,
        NONE,
        SET,
        Variant("above, below, left of, right of", without=named("above", "below", "left_of", "right_of")),
        Variant("near (proximity)", without=named("near")),
        Variant("inside, contains, adjacent", without=named("inside", "contains", "adjacent")),
        PARTS,
        *EXTRAS,
    ),
    "superpixel": (
        DEFAULT,
        NONE,
        SET,
        Variant("adjacent, by direction and distance", without=named(r"\w+_of_(near|far)")),
        PARTS,
        *EXTRAS,
    ),
    # What it has in common with the grid and with blobs is told there.
    "hybrid": (
        DEFAULT,
        NONE,
        SET,
        Variant("cells part of blobs", without=r"^cell\w* part_of (light|dark)"),
        Variant("lateral and touching blobs", without=BETWEEN_BLOBS),
    ),
}


def matches(vision: VisionBrain, pattern: str) -> Tensor:
    """In which edge types the pattern is found, bool ``[num_edge_types]``."""
    return torch.tensor([re.search(pattern, " ".join(triple)) is not None for triple in vision.metadata[1]])


class LessBrain(VisionBrain):
    """Leaves out the edges of relations whose names match."""

    def __init__(self, mode: str, without: str | None, **options: Any) -> None:
        super().__init__(mode, **options)
        self._kept = torch.ones(len(self.metadata[1]), dtype=torch.bool) if without is None else ~matches(self, without)

    def _graphs(self, pixels: Tensor, y: Tensor | None) -> Batch:
        batch = super()._graphs(pixels, y)
        return subgraph(batch, torch.ones(int(batch.num_nodes or 0), dtype=torch.bool), self._kept[batch.edge_type])


def count(mode: str, variant: Variant, images: Tensor) -> float:
    """Edges for an image: of the relations in question, or all that there are."""
    vision = VisionBrain(mode, **variant.vision)
    wanted = matches(vision, variant.without or variant.only or "")
    return int(wanted[vision.batch(images).edge_type].sum()) / len(images)


def measure(
    mode: str, variant: Variant, seed: int, epochs: int, training: Split, validation: Split
) -> dict[str, float]:
    """Trains a model; accuracy and loss on validation."""
    torch.manual_seed(seed)
    model = ImageClassificationModel(LessBrain(mode, variant.without, **variant.vision))
    fit(model, *training, settings=TrainingSettings(epochs=epochs, seed=seed), verbose=False)
    found = evaluate(model.predict(validation.images).probabilities, validation.labels)
    return {"accuracy": found.accuracy, "loss": found.loss}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--modes", nargs="+", choices=tuple(VARIANTS), default=list(VARIANTS))
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--train", type=int, default=20_000, metavar="N", help="training images (20,000)")
    parser.add_argument("--runs", type=Path, default=Path("runs/relations"), help="what is finished is kept here")
    parser.add_argument("--out", type=Path, default=RESULTS / "relations.json")
    arguments = parser.parse_args()
    training, validation = split_mnist()
    training = part(training, 0, arguments.train)
    print("| mode | relations | edges for an image | accuracy without them |\n|---|---|---|---|", flush=True)
    rows = []
    for mode in arguments.modes:
        for variant in VARIANTS[mode]:
            runs = []
            for seed in arguments.seeds:
                name = re.sub(r"\W+", "-", f"{mode} {variant.words} {seed}")
                path = arguments.runs / f"{arguments.train}-{arguments.epochs}" / f"{name}.json"
                if not path.exists():
                    run = measure(mode, variant, seed, arguments.epochs, training, validation)
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_text(json.dumps(run) + "\n")
                runs.append(json.loads(path.read_text()))
            edges = count(mode, variant, training.images[:COUNTED])
            rows.append({"mode": mode, **asdict(variant), "edges": edges, "runs": runs})
            print(
                f"| {mode} | {variant.words} | {edges:,.0f} | {spread([run['accuracy'] for run in runs])} |", flush=True
            )
    settings = {name: getattr(arguments, name) for name in ("epochs", "seeds", "train")}
    write_results(arguments.out, {"settings": settings, "rows": rows})


if __name__ == "__main__":
    main()
