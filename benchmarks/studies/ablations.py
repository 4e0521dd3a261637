"""Validation accuracy and loss with one default setting changed at a time.

    python benchmarks/studies/ablations.py
    python benchmarks/studies/ablations.py --only default adamw --epochs 11 --seeds 0 1 2

Training is on MNIST without its last 5,000 training images, which are for validation; the test set is not used. One
image is 0.02 %. Finished runs are kept in `runs/ablations` and not repeated.
"""

import argparse
import statistics
import sys
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch

sys.path.append(str(Path(__file__).parents[1]))  # helpers of all benchmarks
from common import kept, split_mnist, spread

from grapheme_pyg import ImageClassificationModel, TrainingSettings, fit
from grapheme_pyg.augmentation.warp import SHIFTS
from grapheme_pyg.datasets import Split
from grapheme_pyg.evaluation import evaluate


@dataclass(frozen=True)
class Variant:
    """The preset `base` with a change.

    Attributes:
        words: The change in words.
        vision: Changed arguments of ``VisionBrain``.
        model: Changed arguments of ``ImageClassificationModel``.
        training: Changed arguments of ``TrainingSettings``.
    """

    words: str
    vision: dict[str, Any] = field(default_factory=dict)
    model: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)


VARIANTS = {
    "default": Variant("the defaults"),
    "margin": Variant("features of a cell's own pixels alone, no margin", vision={"margin": 0}),
    "rounds-3-2-1": Variant("rounds (3, 2, 1): more where cells are fine", vision={"rounds": (3, 2, 1)}),
    "rounds-3-3-2": Variant("rounds (3, 3, 2): one more", vision={"rounds": (3, 3, 2)}),
    "wide": Variant("half as wide again", model={"hidden_channels": (48, 96, 144)}),
    "layer-norm": Variant("layer normalisation", model={"norm": "layer"}),
    "sinks": Variant("readout of the sinks alone", model={"readout": "sinks"}),
    "dropout": Variant("a dropout of 0.3", model={"dropout": 0.3}),
    "one-template": Variant("one template for each class", model={"templates_per_class": 1}),
    "augmentation": Variant("no augmentation", training={"augment": False}),
    "adamw": Variant("AdamW for all", training={"optimizer": "adamw"}),
    "averaging": Variant("no averaging of weights", training={"averaging": 0.0}),
    "smoothing": Variant("label smoothing of 0.1", training={"label_smoothing": 0.1}),
    "batch-64": Variant("batches of 64", training={"batch_size": 64}),
}


def measure(variant: Variant, seed: int, epochs: int, training: Split, validation: Split) -> dict[str, float]:
    """Trains a model; returns loss and accuracy on validation, by one view and by all, and the number of weights."""
    torch.manual_seed(seed)
    model = ImageClassificationModel.from_preset("base", vision=variant.vision, **variant.model)
    settings = TrainingSettings(**({"epochs": epochs, "seed": seed} | variant.training))
    fit(model, *training, settings=settings, verbose=False)
    one, all_views = (
        evaluate(model.predict(validation.images, views=views).probabilities, validation.labels)
        for views in (1, len(SHIFTS))
    )
    return {
        "accuracy": one.accuracy,
        "accuracy_of_views": all_views.accuracy,
        "loss": one.loss,
        "num_weights": sum(parameter.numel() for parameter in model.parameters()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=tuple(VARIANTS), default=list(VARIANTS), metavar="NAME")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--train", type=int, default=55_000, metavar="N", help="training images (55,000)")
    parser.add_argument("--runs", type=Path, default=Path("runs/ablations"), help="folder for results of finished runs")
    arguments = parser.parse_args()
    training, validation = split_mnist()
    training = Split(training.images[: arguments.train], training.labels[: arguments.train])
    print(f"| changed | weights | validation accuracy | loss | accuracy, {len(SHIFTS)} views |\n|---|---|---|---|---|")
    for name in arguments.only:
        runs = []
        for seed in arguments.seeds:
            path = arguments.runs / f"{arguments.train}-{arguments.epochs}" / f"{name}-seed{seed}.json"
            runs.append(kept(path, partial(measure, VARIANTS[name], seed, arguments.epochs, training, validation)))
        keys = ("accuracy", "accuracy_of_views", "loss", "num_weights")
        accuracy, of_views, losses, weights = ([run[key] for run in runs] for key in keys)
        cells = (f"{weights[0]:,}", spread(accuracy), f"{statistics.mean(losses):.4f}", spread(of_views))
        print(f"| {VARIANTS[name].words} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
