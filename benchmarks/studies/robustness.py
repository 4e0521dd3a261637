"""Accuracy on corrupted test images, and on corrupted graphs, of our models and of CNNs.

    python examples/train_mnist.py --run-dir runs/ours
    python benchmarks/example_cnn.py --run-dir runs/cnn
    python benchmarks/example_cnn.py --robust --run-dir runs/robust-cnn
    python benchmarks/studies/robustness.py --model ours=runs/ours/model --cnn CNN=runs/cnn robust=runs/robust-cnn

Nothing is trained here. With `--robust`, the CNN is trained on the same images as ours, so that the effect of the graph
and that of training can be distinguished. The script prints the mean accuracy over the severities of each corruption,
and the expected calibration error over all corrupted images, and draws `docs/images/robustness.png`.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from corruptions import CORRUPTIONS, PROBABILITIES, UNSEEN
from draw_robustness import EDGES, NODES, draw
from torch import Tensor, nn

sys.path.append(str(Path(__file__).parents[1]))  # helpers of all benchmarks
import example_cnn

from grapheme_pyg import ImageClassificationModel
from grapheme_pyg.augmentation.dropping import drop_edges, drop_nodes, pooled_nodes
from grapheme_pyg.datasets import Split, load_mnist
from grapheme_pyg.evaluation import evaluate

ROOT = Path(__file__).parents[2]
BATCH_SIZE = 250
# The digit in the picture, a 2.
EXAMPLE = 1


@dataclass(frozen=True)
class Contestant:
    """A model under test, and a function that returns class probabilities of uint8 ``[N, 28, 28]``."""

    name: str
    kind: str
    model: nn.Module
    classify: Callable[[Tensor], Tensor]


def load_ours(name: str, folder: Path) -> Contestant:
    model = ImageClassificationModel.from_pretrained(folder)
    return Contestant(name, "ours", model, lambda images: model.predict(images, BATCH_SIZE).probabilities)


def load_cnn(name: str, folder: Path) -> Contestant:
    cnn = example_cnn.load_cnn(folder)
    return Contestant(name, "CNN", cnn, lambda images: example_cnn.classify(cnn, images).softmax(dim=1))


@torch.no_grad()
def classify_corrupted(kind: str, model: ImageClassificationModel, images: Tensor, p: float, seed: int) -> Tensor:
    """Classifies images with corrupted graphs; random numbers are the same for every p and every model of a kind."""
    generator = torch.Generator().manual_seed(seed)
    classes = []
    for part in images.split(BATCH_SIZE):
        batch = model.vision.batch(part)
        if kind == NODES:
            batch = drop_nodes(batch, p, model.vision, generator)
        else:
            batch = drop_edges(batch, p, torch.cat(pooled_nodes(model, batch)), generator)
        classes.append(model(batch).argmax(dim=1))
    return torch.cat(classes)


def measure(contestants: list[Contestant], images: Tensor, labels: Tensor, seed: int) -> Iterator[dict[str, Any]]:
    """Measures the accuracies of each model for each corruption; yields name, unit, severities and accuracies.

    The first is for clean images, under the name "none". The last, under the name "calibration", has the expected
    calibration errors over all corrupted images in place of accuracies.
    """

    def accuracy(predicted: Tensor) -> float:
        return int((predicted == labels).sum()) / len(labels)

    clean = {one.name: [accuracy(one.classify(images).argmax(dim=1))] for one in contestants}
    said: dict[str, list[Tensor]] = {one.name: [] for one in contestants}
    yield {"name": "none", "unit": "", "severities": [], "accuracy": clean}
    for corruption in CORRUPTIONS:
        found: dict[str, list[float]] = {one.name: [] for one in contestants}
        for severity in corruption.severities:
            corrupted = corruption(images, severity, seed)
            for one in contestants:
                said[one.name].append(one.classify(corrupted))
                found[one.name].append(accuracy(said[one.name][-1].argmax(dim=1)))
        described = {"name": corruption.name, "unit": corruption.unit, "severities": list(corruption.severities)}
        yield described | {"accuracy": found}
    ours = {one.name: one.model for one in contestants if isinstance(one.model, ImageClassificationModel)}
    for kind in (NODES, EDGES) if ours else ():
        found = {
            name: [accuracy(classify_corrupted(kind, model, images, p, seed)) for p in PROBABILITIES]
            for name, model in ours.items()
        }
        yield {"name": kind, "unit": "probability", "severities": list(PROBABILITIES), "accuracy": found}
    errors = {}
    for name, parts in said.items():
        errors[name] = [evaluate(torch.cat(parts), labels.repeat(len(parts)), hardest=0).calibration_error]
    yield {"name": "calibration", "accuracy": errors}


def print_row(title: str, accuracies: dict[str, list[float]], names: list[str]) -> None:
    means = {name: f"{100 * sum(row) / len(row):.1f} %" for name, row in accuracies.items()}
    print(f"{title:28}" + "".join(f"{means.get(name, '-'):>{max(12, len(name) + 2)}}" for name in names), flush=True)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for option, text in (("--model", "folders of our models"), ("--cnn", "run folders of example_cnn.py")):
        parser.add_argument(option, action="extend", nargs="+", default=[], metavar="[NAME=]FOLDER", help=text)
    parser.add_argument("--limit", type=int, default=2000, metavar="N", help="use the first N test images (2000)")
    parser.add_argument("--validation", action="store_true", help="use the last N training images")
    parser.add_argument("--seed", type=int, default=0, help="seed of the corruptions (0)")
    parser.add_argument("--data-dir", metavar="DIR", help="folder with MNIST's four files (default: $GRAPHEME_DATA)")
    parser.add_argument("--picture", type=Path, default=ROOT / "docs/images/robustness.png", metavar="FILE")
    return parser.parse_args()


def load_contestants(arguments: argparse.Namespace) -> list[Contestant]:
    """Loads the models, under the given names or those of their runs."""
    contestants: dict[str, Contestant] = {}
    for load, given in ((load_ours, arguments.model), (load_cnn, arguments.cnn)):
        for text in given:
            name, _, path = text.rpartition("=")
            folder = Path(path)
            name = name or (folder.resolve().parent if folder.name == "model" else folder.resolve()).name
            if name in contestants:
                raise ValueError(f"--model, --cnn: expected distinct names, got {name!r} twice; give NAME=FOLDER")
            contestants[name] = load(name, folder)
    if not contestants:
        raise ValueError("--model, --cnn: expected at least one model, got none")
    return list(contestants.values())


def main() -> None:
    arguments = parse_arguments()
    if arguments.limit < 1:
        raise ValueError(f"--limit: expected a positive integer, got {arguments.limit}")
    contestants = load_contestants(arguments)
    data = load_mnist(arguments.data_dir)
    if arguments.validation:
        split, which = Split(*(part[-arguments.limit :] for part in data.train)), "the last"
        whole = f"{len(data.train.images):,} training images"
    else:
        split, which = Split(*(part[: arguments.limit] for part in data.test)), "the first"
        whole = f"{len(data.test.images):,} test images"
    started = time.perf_counter()
    names = [one.name for one in contestants]
    print(f"accuracy on {which} {len(split.images):,} of {whole} of {data.name}, ", end="")
    print("mean over the severities of each corruption")
    print(f"{'':28}" + "".join(f"{name:>{max(12, len(name) + 2)}}" for name in names))
    rows = []
    for row in measure(contestants, split.images, split.labels, arguments.seed):
        if row["name"] == "calibration":
            print_row("expected calibration error", row["accuracy"], names)
            continue
        print_row(row["name"], row["accuracy"], names)
        rows.append(row)
    images_alone = rows[1 : len(CORRUPTIONS) + 1]
    for title, chosen in (
        ("mean of all but motion blur", [row for row in images_alone if row["name"] != "motion blur"]),
        ("mean of five kinds unseen", [row for row in images_alone if row["name"] in UNSEEN]),
    ):
        print_row(title, {name: [value for row in chosen for value in row["accuracy"][name]] for name in names}, names)
    print(f"{time.perf_counter() - started:.0f} s with {torch.get_num_threads()} threads")
    results = {
        "dataset": data.name,
        "images": f"{which} {len(split.images):,} of {whole}",
        "seed": arguments.seed,
        "models": {one.name: {"kind": one.kind} for one in contestants},
        "corruptions": rows,
    }
    arguments.picture.parent.mkdir(parents=True, exist_ok=True)
    vision = next((one.model.vision for one in contestants if isinstance(one.model, ImageClassificationModel)), None)
    draw(results, split.images[EXAMPLE], vision).savefig(arguments.picture, dpi=110)


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError) as error:
        sys.exit(f"robustness.py: {error}")
