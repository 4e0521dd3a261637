"""How long training takes until 99 % of MNIST's test digits are classified, ours and the CNN of PyTorch's example.

Each with the shortest schedule that reaches 99 % on the validation images (the last 5,000 of the training images),
and then tested once, on the weights with which that schedule ends. The CNN has its published settings: a schedule of k
epochs is the first k epochs of a longer one, so it trains until validation is there. Ours is a one-cycle schedule,
which depends on its length: SCHEDULES were tried on validation, shortest first. Training alone is timed, from raw
images.

    python benchmarks/speed_time_to_99.py --seeds 0 1 2
"""

import argparse
import statistics
import time
from typing import Any

import torch
import torch.nn.functional as F
from example_cnn import BATCH_SIZE, LR, LR_DECAY, ExampleCNN, accuracy, classify, to_input
from plain_training import split_mnist
from timing import show

from grapheme_pyg import ImageClassificationModel, TrainingSettings, fit
from grapheme_pyg.datasets import EpochSampler, ImageDataset, Split, load_mnist
from grapheme_pyg.training.settings import Precision

WANTED = 0.99
MOST_EPOCHS = 14
# How many of the training images, and epochs, the shortest first.
SCHEDULES = ((40_000, 1), (55_000, 1), (55_000, 2), (55_000, 3))


def train_cnn(training: Split, validation: Split, test: Split, seed: int) -> dict[str, float]:
    """PyTorch's example, until an epoch ends above 99 % on validation."""
    torch.manual_seed(seed)
    cnn = ExampleCNN()
    dataset = ImageDataset(*training, seed=seed)
    sampler = EpochSampler(dataset, seed)
    optimizer = torch.optim.Adadelta(cnn.parameters(), lr=LR)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=LR_DECAY)
    seconds, watched = 0.0, 0.0
    for epoch in range(MOST_EPOCHS):
        started = time.perf_counter()
        cnn.train()
        sampler.set_epoch(epoch)
        for index in torch.tensor(list(sampler)).split(BATCH_SIZE):
            images, labels = dataset[index]
            optimizer.zero_grad()
            F.nll_loss(cnn(to_input(images)), labels).backward()
            optimizer.step()
        scheduler.step()
        seconds += time.perf_counter() - started
        watched = accuracy(classify(cnn.eval(), validation.images), validation.labels)
        if watched >= WANTED:
            break
    result = accuracy(classify(cnn, test.images), test.labels)
    return {"seconds": seconds, "epochs": epoch + 1, "validation": watched, "test": result}


def share_found(model: ImageClassificationModel, split: Split) -> float:
    """Accuracy of our model."""
    return accuracy(model.predict(split.images).similarities, split.labels)


def train_ours(training: Split, validation: Split, test: Split, seed: int) -> dict[str, float]:
    """The shortest of our schedules that ends above 99 % on validation."""
    half = bool(torch.cpu.get_capabilities().get("avx512_bf16", False))
    precision: Precision = "bf16-mixed" if half else "32-true"
    for number, epochs in SCHEDULES:
        torch.manual_seed(seed)
        model = ImageClassificationModel.from_preset("base")
        part = Split(training.images[:number], training.labels[:number])
        started = time.perf_counter()
        settings = TrainingSettings(epochs=epochs, seed=seed, precision=precision)
        fit(model, *part, settings=settings, verbose=False)
        seconds = time.perf_counter() - started
        watched = share_found(model, validation)
        if watched >= WANTED:
            break
    passes = epochs * number / len(training.images)
    return {"seconds": seconds, "epochs": passes, "validation": watched, "test": share_found(model, test)}


def measure(seeds: list[int]) -> dict[str, Any]:
    """All figures; see the keys."""
    training, validation = split_mnist()
    test = load_mnist().test
    runs: dict[str, list[dict[str, float]]] = {"ours": [], "pytorch_example": []}
    # A process pays for its first convolution, its first graph and Lightning's own start once: not here.
    few = Split(training.images[:512], training.labels[:512])
    fit(ImageClassificationModel.from_preset("base"), *few, settings=TrainingSettings(epochs=1), verbose=False)
    for seed in seeds:
        runs["ours"].append(train_ours(training, validation, test, seed))
        runs["pytorch_example"].append(train_cnn(training, validation, test, seed))
    seconds = {name: statistics.mean(run["seconds"] for run in some) for name, some in runs.items()}
    return {
        "seconds_to_99_ours": seconds["ours"],
        "seconds_to_99_pytorch_example": seconds["pytorch_example"],
        "times_sooner": seconds["pytorch_example"] / seconds["ours"],
        "runs_to_99": runs,
    }


def report(figures: dict[str, Any]) -> None:
    """Prints a table."""
    rows = [
        [
            name,
            f"{run['seconds']:.1f}",
            f"{run['epochs']:.2g}",
            *(f"{100 * run[k]:.2f}" for k in ("validation", "test")),
        ]
        for name, some in figures["runs_to_99"].items()
        for run in some
    ]
    show("training until 99 %", ["", "seconds", "epochs", "validation, %", "test, %"], rows)
    print(f"\n{figures['times_sooner']:.1f} times sooner")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], metavar="N", help="(default: 0 1 2)")
    report(measure(parser.parse_args().seeds))


if __name__ == "__main__":
    main()
