"""Tests of the memory: it refuses a class that was never seen, and learns it from a few examples.

    python benchmarks/held_out_classes.py
    python benchmarks/held_out_classes.py --classes 3 9 --epochs 1 --limit 10000

For each class of MNIST, a model is trained without it. On the test set, the area under the ROC curve measures how well
familiarity distinguishes the unknown class from the known ones. After `add_class` with 5, 10 and 50 training images,
without a gradient step, the accuracy on the new class and the loss on the old ones are measured. Finished classes are
not repeated.
"""

import argparse
import copy
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch
from common import kept, split_mnist
from scipy.stats import mannwhitneyu
from torch import Tensor

from grapheme_pyg import ImageClassificationModel, TrainingSettings, fit
from grapheme_pyg.datasets import ImageData, load_mnist

SHOTS = (5, 10, 50)
# Number of draws of examples that are averaged, since few examples differ a lot.
DRAWS = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--classes", type=int, nargs="+", default=list(range(10)), metavar="C")
    parser.add_argument("--preset", default="base")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=int, metavar="N", help="use only the first N training and N test images")
    parser.add_argument(
        "--runs", type=Path, default=Path("runs/held_out_classes"), help="folder for results of finished classes"
    )
    arguments = parser.parse_args()
    limited = f"-limit{arguments.limit}" if arguments.limit else ""
    data = load_mnist()
    rows = []
    for held_out in arguments.classes:
        path = (
            arguments.runs / f"{arguments.preset}-{arguments.epochs}-seed{arguments.seed}{limited}" / f"{held_out}.json"
        )
        rows.append(kept(path, partial(measure, data, held_out, arguments)))
        print(line(rows[-1]), flush=True)
    mean = {key: sum(row[key] for row in rows) / len(rows) for key in rows[0] if key != "class"}
    print(line({"class": "mean"} | mean))


def measure(data: ImageData, held_out: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """Trains without a class, and then measures with it."""
    started = time.perf_counter()
    (images, labels), validation = split_mnist()
    images, labels = images[: arguments.limit], labels[: arguments.limit]
    known = labels != held_out
    torch.manual_seed(arguments.seed)
    names = [name for i, name in enumerate(data.classes) if i != held_out]
    model = ImageClassificationModel.from_preset(arguments.preset, names)
    settings = TrainingSettings(epochs=arguments.epochs, seed=arguments.seed)
    training = images[known], without(labels[known], held_out)
    familiar = validation[1] != held_out
    known_validation = validation[0][familiar], without(validation[1][familiar], held_out)
    fit(model, *training, validation=known_validation, settings=settings, verbose=False)

    test, truth = data.test.images[: arguments.limit], data.test.labels[: arguments.limit]
    old, new = pool(model, test[truth != held_out]), pool(model, test[truth == held_out])
    old_labels = without(truth[truth != held_out], held_out)
    before = accuracy(model, old, old_labels)
    memory = model.classifier.memory
    assert memory is not None
    row = {
        "class": held_out,
        "old_accuracy": before,
        "auroc": auroc(memory.familiarity(old), memory.familiarity(new)),
        # For comparison, the usual score: the largest probability (Hendrycks and Gimpel, 2017).
        "auroc_of_confidence": auroc(confidence(model, old), confidence(model, new)),
    }
    examples = images[~known]
    generator = torch.Generator().manual_seed(arguments.seed)
    for shots in SHOTS:
        learned, lost = 0.0, 0.0
        for _ in range(DRAWS):
            few = examples[torch.randperm(len(examples), generator=generator)[:shots]]
            extended = copy.deepcopy(model)
            extended.add_class(data.classes[held_out], few)
            new_labels = torch.full((len(new),), len(extended.classes) - 1)
            learned += accuracy(extended, new, new_labels) / DRAWS
            lost += (before - accuracy(extended, old, old_labels)) / DRAWS
        row |= {f"new_accuracy_{shots}": learned, f"old_loss_{shots}": lost}
    return row | {"seconds": time.perf_counter() - started}


@torch.no_grad()
def pool(model: ImageClassificationModel, images: Tensor) -> Tensor:
    """Computes pooled states of images, which do not change when classes are added."""
    return torch.cat([model.pool(model.vision.batch(part)) for part in images.split(500)])


@torch.no_grad()
def accuracy(model: ImageClassificationModel, pooled: Tensor, labels: Tensor) -> float:
    """Returns the share of images whose most similar class is the true one."""
    return (model.classifier.similarities(pooled).argmax(dim=1) == labels).double().mean().item()


@torch.no_grad()
def confidence(model: ImageClassificationModel, pooled: Tensor) -> Tensor:
    """Returns the probability of each image's most probable class."""
    return model.classifier.logits(pooled).softmax(dim=1).amax(dim=1)


def without(labels: Tensor, held_out: int) -> Tensor:
    """Renumbers labels after a class is left out."""
    return labels - (labels > held_out).long()


def auroc(known: Tensor, unknown: Tensor) -> float:
    """Returns the probability that a known image is more familiar than an unknown one; ties count half."""
    found = mannwhitneyu(known.numpy(), unknown.numpy(), method="asymptotic")
    return float(found.statistic) / (len(known) * len(unknown))


def line(row: dict[str, Any]) -> str:
    """Formats a row of the table, in per cent."""
    shots = "  ".join(
        f"{n} examples: new {100 * row[f'new_accuracy_{n}']:.1f} %, old {-100 * row[f'old_loss_{n}']:+.2f}"
        for n in SHOTS
    )
    scores = f"AUROC {row['auroc']:.4f} (of confidence {row['auroc_of_confidence']:.4f})"
    return f"without {row['class']}: old {100 * row['old_accuracy']:.2f} %  {scores}  {shots}"


if __name__ == "__main__":
    main()
