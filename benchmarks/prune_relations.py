"""How many relations can go? Edge types are removed from a trained model, the weakest first.

    python benchmarks/prune_relations.py --model runs/<run>/model
    python benchmarks/prune_relations.py --floor 99.0

Without ``--model`` one is trained first. The weakest are those with the least

- norm: of the relation's weights;
- norm_rms: norm times the root mean square of the states that are sent along it;
- loss: what its removal, alone, adds to the loss on training digits;
- random: a number drawn at random, the control.

Ranks are made once, on the trained model and on training digits. Every row starts from the trained model anew and is
fine-tuned equally long, the one that loses nothing too: it says what fine-tuning does by itself. Relations of which
these images have no edge do not count.

A removed relation has no edges in the graphs and no weights in the model, whose vocabulary is smaller. Leaving out
the edges alone saves little: the matrix product of a step still has a zero for each. Both are timed against the
full model, in turn; a step is making graphs, forward, backward, and AdamW.

The readout stays as it was before pruning. A node that has lost its way up would be one more sink; it is computed
still, but not read out, unless it is of its level's last round. So any relation can go.

Accuracy is on the last 5,000 training images of MNIST; the test set is not used. They decide here how many relations
can go, so the accuracy at that number is a little too good, and one image is 0.02 %.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from plain_training import RESULTS, mean_loss_and_accuracy, part, split_mnist, spread, train, write_results
from pruning import SCORES, count_and_rms, prune, rank, shuffle

from grapheme_pyg import ImageClassificationModel, TrainingSettings, VisionBrain, fit
from grapheme_pyg.augmentation import RandomWarp
from grapheme_pyg.datasets import Split
from grapheme_pyg.datasets.labelled_images import ImageDataset

# Training digits on which relations are ranked; size of the batches that are timed, and how often.
RANKED, TIMED, TURNS = 2000, 128, 15
REMOVE = [2, 4, 6, 8, 10, 15, 20, 30]


@dataclass(frozen=True)
class Row:
    """What is left of a model without its weakest relations; one value for each seed in every list.

    Attributes:
        score: By which they are the weakest.
        removed: How many.
        orders: Which: numbers of edge types.
        edges: Edges that an image loses, on average.
        accuracies: On validation, before any fine-tuning.
        finetuned: On validation, after it.
    """

    score: str
    removed: int
    orders: list[list[int]]
    edges: list[float]
    accuracies: list[float]
    finetuned: list[float]


def measure(
    model: ImageClassificationModel,
    orders: dict[int, list[int]],
    training: Split,
    validation: Split,
    arguments: argparse.Namespace,
) -> tuple[list[float], list[float]]:
    """Validation accuracies without some relations, before and after fine-tuning.

    Args:
        model: The trained model, which stays as it is.
        orders: For each seed, the edge types to remove.
        training: For fine-tuning.
        validation: For accuracy.
        arguments: Of the script.
    """
    before, after = [], []
    epochs, lr = arguments.finetune_epochs, arguments.finetune_lr
    for seed, removed in orders.items():
        pruned = prune(model, removed)
        before.append(mean_loss_and_accuracy(pruned, validation)[1])
        digits = ImageDataset(*training, augment=RandomWarp(), seed=seed)
        train(pruned, digits, epochs=epochs, batch_size=128, seed=seed, lr=lr)
        after.append(mean_loss_and_accuracy(pruned, validation)[1])
    return before, after


def step_times(models: Mapping[str, ImageClassificationModel], digits: Split) -> dict[str, float]:
    """Median seconds of a training step, the models taking turns at the same batches. Changes their weights."""
    optimizers = {name: torch.optim.AdamW(model.train().parameters(), lr=1e-4) for name, model in models.items()}
    times: dict[str, list[float]] = {name: [] for name in models}
    for turn in range(TURNS + 1):
        images, labels = part(digits, turn * TIMED, (turn + 1) * TIMED)
        for name, model in models.items():
            started = time.perf_counter()
            batch = model.vision.batch(images, labels)
            optimizers[name].zero_grad()
            F.cross_entropy(model(batch), batch.y).backward()
            optimizers[name].step()
            if turn > 0:  # the first is for warming up
                times[name].append(time.perf_counter() - started)
    return {name: statistics.median(values) for name, values in times.items()}


def last_above(floor: float, rows: Sequence[Row], finetuned: bool) -> Row | None:
    """The last row, by number of relations removed, before accuracy first falls below the floor; None if at once."""
    last = None
    for row in sorted(rows, key=lambda row: row.removed):
        # Rounding is no loss of accuracy.
        if statistics.mean(row.finetuned if finetuned else row.accuracies) < floor - 1e-9:
            break
        last = row
    return last


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--model", type=Path, metavar="DIR", help="a model whose training has spared the last 5,000 training images")
    add("--epochs", type=int, default=4, help="passes to train a model where none is given (4)")
    add("--floor", type=float, default=99.5, metavar="PERCENT", help="of validation accuracy (99.5)")
    add("--scores", nargs="+", choices=SCORES, default=list(SCORES), help="(all)")
    add("--remove", type=int, nargs="+", default=REMOVE, metavar="K", help=f"({' '.join(map(str, REMOVE))})")
    add("--train", type=int, default=55_000, metavar="N", help="digits for training and fine-tuning (55,000)")
    add("--finetune-epochs", type=int, default=1, help="(1)")
    add("--finetune-lr", type=float, default=1e-3, metavar="LR", help="peak of its cycle (0.001)")
    add("--seeds", type=int, nargs="+", default=[0], help="of fine-tuning and of the random score (0)")
    add("--out", type=Path, help="JSON (benchmarks/results/prune_relations.json)")
    return parser.parse_args()


def trained(arguments: argparse.Namespace, training: Split, validation: Split) -> ImageClassificationModel:
    """The model that was given, or a new one."""
    if arguments.model is not None:
        return ImageClassificationModel.from_pretrained(arguments.model)
    torch.manual_seed(0)
    model = ImageClassificationModel(VisionBrain())
    fit(model, *training, validation=validation, settings=TrainingSettings(epochs=arguments.epochs))
    return model


def main() -> None:
    arguments = parse_arguments()
    training, validation = split_mnist()
    least = max(RANKED, TIMED * (TURNS + 1))
    if not least <= arguments.train <= len(training.labels):
        raise ValueError(f"--train: expected {least:,} to {len(training.labels):,} digits, got {arguments.train:,}")
    training = part(training, 0, arguments.train)
    model = trained(arguments, training, validation)
    ranked = part(training, 0, RANKED)
    count, rms = count_and_rms(model, ranked)
    used = count.nonzero().flatten().tolist()
    per_image = count / RANKED
    total = float(per_image.sum())
    if not 1 <= min(arguments.remove) <= max(arguments.remove) <= len(used):
        raise ValueError(f"--remove: expected numbers from 1 to {len(used)}, got {arguments.remove}")
    print(f"{len(used)} relations occur, of {len(count)}; {total:.0f} edges an image\n")

    print("| weakest by | relations removed | edges removed | validation accuracy | fine-tuned |")
    print("|---|---|---|---|---|", flush=True)
    rows: list[Row] = []
    for score in ("none", *arguments.scores):
        if score == "random":
            orders = {seed: shuffle(used, seed) for seed in arguments.seeds}
        else:
            orders = dict.fromkeys(arguments.seeds, rank(model, score, ranked, used, rms) if score != "none" else [])
        for number in sorted(set(arguments.remove)) if score != "none" else [0]:
            removed = {seed: order[:number] for seed, order in orders.items()}
            accuracies = measure(model, removed, training, validation, arguments)
            edges = [float(per_image[numbers].sum()) for numbers in removed.values()]
            rows.append(Row(score, number, list(removed.values()), edges, *accuracies))
            share = f"{100 * statistics.mean(edges) / total:.0f} %"
            print(f"| {score} | {number} | {share} | {' | '.join(map(spread, accuracies))} |", flush=True)

    print(f"\nUp to the first row below {arguments.floor:g} %:\n")
    print("| weakest by | fine-tuned | relations that can go | edges removed | step time | with edges removed alone |")
    print("|---|---|---|---|---|---|")
    summary: list[dict[str, Any]] = []
    for score in arguments.scores:
        for finetuned in (False, True):
            last = last_above(arguments.floor / 100, [row for row in rows if row.score in ("none", score)], finetuned)
            cells, times = [f"0 of {len(used)}", "", "", ""], None
            if last is None:
                cells[0] = "below from the start"
            elif last.removed > 0:
                models = {"full": prune(model, []), "pruned": prune(model, last.orders[0])}
                times = step_times(models | {"edges": prune(model, last.orders[0], renumber=False)}, training)
                ratios = [f"{times[name] / times['full']:.2f}" for name in ("pruned", "edges")]
                cells = [f"{last.removed} of {len(used)}", f"{100 * last.edges[0] / total:.0f} %", *ratios]
            print(f"| {score} | {'yes' if finetuned else 'no'} | {' | '.join(cells)} |", flush=True)
            number = 0 if last is None else last.removed
            summary.append({"score": score, "finetuned": finetuned, "removed": number, "step_seconds": times})
    results = {
        "settings": {name: value for name, value in vars(arguments).items() if name not in ("model", "out")},
        "edge_types": ["__".join(names) for names in model.vision.metadata[1]],
        "edges_per_image": per_image.tolist(),
        "rows": [asdict(row) for row in rows],
        "summary": summary,
    }
    write_results(arguments.out or RESULTS / "prune_relations.json", results)


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError) as error:
        sys.exit(f"prune_relations.py: {error}")
