"""Does Hebbian learning help? Edge-type weights that learn by gradient, by Oja's rule, by both, or not at all.

    python benchmarks/learning_rules.py
    python benchmarks/learning_rules.py --train 500 --epochs 40 --batch-size 64 --unlabelled 10000

What a node receives from the nodes of one type is y = x W: x are the means of its sources' states along each
relation, side by side, and W the weights of all these relations. Oja's rule moves W towards the principal components
of x without looking at labels,

    ΔW = η (mean over nodes of x yᵀ - W D),

where D, which keeps W bounded, is the mean of y yᵀ or a part of it:

- subspace (the default): all of it, the standard rule for several units (Oja, "Neural networks, principal
  components, and subspaces", 1989);
- diagonal: each unit by itself (Oja, "A simplified neuron model as a principal component analyzer", 1982), so that
  all seek the same component;
- sanger: its upper triangle, which sorts the components (Sanger, "Optimal unsupervised learning in a single-layer
  linear feedforward neural network", 1989).

The rule is for inputs of mean zero. So x is centred, and scaled such that its variances add up to one: a rate then
means the same for every pair of node types. Oja's step is taken at the weights of the forward pass and added once
after each step of the optimiser; its rate rises and falls with the learning rate.

The mixture is 0.7 of the gradient's step and 0.3 of Oja's; its control has the former alone. In "Oja alone" and in
the control of that, "frozen", everything else in the DAG stays as it was drawn (but batch norm's running
statistics, which are measured and not learned), and the gradient trains the classifier. First weights, order and
augmentation of a seed are the same for all rules, and so are the optimiser and its settings.

Accuracy is on the last 5,000 training images of MNIST; the test set is not used. All rates are shown: the best of
several is a little too good, as it is the best on these very images.
"""

import argparse
import itertools
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from plain_training import RESULTS, batches, mean_loss_and_accuracy, part, split_mnist, spread, train, write_results
from torch import Tensor

from grapheme_pyg import ImageClassificationModel, VisionBrain
from grapheme_pyg.augmentation import RandomWarp
from grapheme_pyg.datasets import Split
from grapheme_pyg.datasets.labelled_images import ImageDataset
from grapheme_pyg.nn import DagNN
from grapheme_pyg.nn.plan import Neighbours
from grapheme_pyg.ops import segment_mean

GRADIENT, OJA = 0.7, 0.3
RULES = ("gradient", "hybrid", "oja", "frozen")
Decay = Literal["subspace", "diagonal", "sanger"]


@dataclass(frozen=True)
class Rule:
    """How edge-type weights learn: by which shares of the gradient's step and of Oja's, and at which rate of Oja's."""

    name: str
    gradient: float
    oja: float = 0.0
    rate: float | None = None


def chosen_rules(names: list[str], rates: list[float]) -> list[Rule]:
    """The rules to compare, in the order of the names."""
    hybrid = f"{GRADIENT} gradient + {OJA} Oja"
    every = {
        "gradient": [Rule("gradient", 1.0)],
        "hybrid": [Rule(f"{GRADIENT} gradient", GRADIENT), *(Rule(hybrid, GRADIENT, OJA, rate) for rate in rates)],
        "oja": [Rule("Oja alone", 0.0, 1.0, rate) for rate in rates],
        "frozen": [Rule("frozen", 0.0)],
    }
    return [rule for name in names for rule in every[name]]


def oja_update(x: Tensor, weight: Tensor, decay: Decay = "subspace") -> Tensor:
    """What Oja's rule adds to weights at rate one.

    Args:
        x: ``[num_targets, in_channels]``.
        weight: ``[in_channels, out_channels]``.
        decay: Which part of the mean of y yᵀ bounds the weights.

    Returns:
        ``[in_channels, out_channels]``.
    """
    y = x @ weight
    xy, yy = x.t() @ y / len(x), y.t() @ y / len(x)
    bound = {"subspace": yy, "diagonal": yy.diag().diag(), "sanger": yy.triu()}[decay]
    return xy - weight @ bound


def standardise(x: Tensor) -> Tensor:
    """Rows of mean zero, whose variances add up to one."""
    x = x - x.mean(dim=0)
    return x / x.square().sum(dim=1).mean().sqrt().clamp_min(1e-6)


def received(x: Tensor, read: Neighbours) -> Tensor:
    """Means of the sources' states along each relation, side by side, ``[num_targets, num_relations · channels]``."""
    if read.segments is not None:
        x = segment_mean(x, *read.segments)
    return F.pad(x, (0, 0, 1, 0)).index_select(0, read.rows.flatten()).view(len(read.rows), -1)


class OjaDagNN(DagNN):
    """A DagNN that notes in training what Oja's rule would change, for :meth:`learn` to change it.

    Attributes:
        decay: See :func:`oja_update`; None to note nothing.
    """

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.decay: Decay | None = None
        self._updates: dict[str, list[Tensor]] = {}

    def _receive(self, x: Tensor, read: Neighbours, edge_attr: Tensor | None) -> Tensor:
        # Plans have all that images of a size may have; what no edge brings teaches nothing.
        if self.training and self.decay is not None and bool(read.rows.any()):
            weight = self.weight[read.pair].flatten(0, 1)
            with torch.no_grad():
                update = oja_update(standardise(received(x, read)), weight, self.decay)
            self._updates.setdefault(read.pair, []).append(update)
        return super()._receive(x, read, edge_attr)

    @torch.no_grad()
    def learn(self, rate: float) -> None:
        """Adds the mean of what was noted since the last call."""
        for name, updates in self._updates.items():
            self.weight[name] += rate * torch.stack(updates).mean(dim=0).view_as(self.weight[name])
        self._updates.clear()


def learn(
    rule: Rule, labelled: Split, unlabelled: Split | None, seed: int, arguments: argparse.Namespace
) -> ImageClassificationModel:
    """A model that learned by a rule."""
    torch.manual_seed(seed)
    model = ImageClassificationModel(VisionBrain())
    norm = model.config["norm"]
    dag = OjaDagNN(model.vision.metadata, model.dag.in_channels, model.dag.hidden_channels, norm=norm)
    dag.load_state_dict(model.dag.state_dict())
    dag.requires_grad_(rule.gradient > 0)
    dag.decay = None if rule.rate is None else arguments.decay
    model.dag = dag
    size = arguments.batch_size
    others = None if unlabelled is None or rule.rate is None else _endless(unlabelled, size, seed)

    def after_step(cycle: float) -> None:
        if others is not None:
            with torch.no_grad():
                model(model.vision.batch(next(others)))
        dag.learn(rule.oja * (rule.rate or 0.0) * cycle)

    train(
        model,
        ImageDataset(*labelled, augment=RandomWarp(), seed=seed),
        epochs=arguments.epochs,
        batch_size=size,
        seed=seed,
        edge_share=rule.gradient,
        after_step=after_step,
    )
    return model


def _endless(split: Split, batch_size: int, seed: int) -> Iterator[Tensor]:
    digits = ImageDataset(*split, augment=RandomWarp(), seed=seed)
    for epoch in itertools.count():
        for images, _ in batches(digits, batch_size, seed=seed, epoch=epoch):
            yield images


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--train", type=int, default=10_000, metavar="N", help="labelled digits (10,000)")
    add("--unlabelled", type=int, default=0, metavar="N", help="further digits, for Oja's rule alone (0)")
    add("--epochs", type=int, default=3, help="passes over the labelled digits (3)")
    add("--batch-size", type=int, default=128, help="(128)")
    add("--seeds", type=int, nargs="+", default=[0, 1], help="(0 1)")
    add("--rules", nargs="+", choices=RULES, default=list(RULES), help="(all)")
    add("--rates", type=float, nargs="+", default=[0.1, 1.0, 10.0], help="of Oja's rule (0.1 1 10)")
    add("--decay", choices=get_args(Decay), default="subspace", help="of Oja's rule (subspace)")
    add("--out", type=Path, help="JSON (benchmarks/results/learning_rules-<train>-<unlabelled>.json)")
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    training, validation = split_mnist()
    used = arguments.train + arguments.unlabelled
    if arguments.train < 1 or arguments.unlabelled < 0 or used > len(training.labels):
        raise ValueError(f"--train, --unlabelled: expected 1 to {len(training.labels):,} digits in all, got {used:,}")
    labelled = part(training, 0, arguments.train)
    unlabelled = part(training, arguments.train, used) if arguments.unlabelled else None
    rows: list[dict[str, Any]] = []
    print("| rule for edge-type weights | Oja's rate | validation accuracy | seconds |\n|---|---|---|---|", flush=True)
    for rule in chosen_rules(arguments.rules, arguments.rates):
        accuracies, seconds = [], []
        for seed in arguments.seeds:
            started = time.perf_counter()
            model = learn(rule, labelled, unlabelled, seed, arguments)
            seconds.append(time.perf_counter() - started)
            accuracies.append(mean_loss_and_accuracy(model, validation)[1])
        rows.append(asdict(rule) | {"accuracies": accuracies, "seconds": seconds})
        rate = "" if rule.rate is None else f"{rule.rate:g}"
        print(f"| {rule.name} | {rate} | {spread(accuracies)} | {statistics.mean(seconds):.0f} |", flush=True)
    settings = {name: value for name, value in vars(arguments).items() if name != "out"}
    name = f"learning_rules-{arguments.train}-{arguments.unlabelled}.json"
    write_results(arguments.out or RESULTS / name, {"settings": settings, "rows": rows})


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError) as error:
        sys.exit(f"learning_rules.py: {error}")
