"""How long training takes until 99 % of MNIST's digits are classified, ours and the CNN of PyTorch's example.

Each with the shortest schedule that reaches 99 % on the validation images (the last 5,000 of the training images) in
the mean over the seeds, and then tested once, on the weights with which that schedule ends. The CNN has its published
settings: k epochs are the first k of a longer training, so all seeds train on, epoch by epoch, until validation is
there. Ours is a one-cycle schedule, which depends on its length: SCHEDULES are tried, the shortest first. Training
alone is timed, from raw images.

    python benchmarks/speed_time_to_99.py --seeds 0 1 2
"""

import argparse
import statistics
import time
from typing import Any

import torch
import torch.nn.functional as F
from common import split_mnist
from example_cnn import BATCH_SIZE, LR, LR_DECAY, ExampleCNN, accuracy, classify, to_input
from timing import show

from grapheme_pyg import ImageClassificationModel, TrainingSettings, fit
from grapheme_pyg.datasets import EpochSampler, ImageDataset, Split, load_mnist
from grapheme_pyg.training.settings import Precision

WANTED = 0.99
MOST_EPOCHS = 14
# How many of the training images, and epochs, the shortest first.
SCHEDULES = ((30_000, 1), (35_000, 1), (40_000, 1), (55_000, 1), (55_000, 2), (55_000, 3))


class CnnTraining:
    """PyTorch's example, an epoch at a time."""

    def __init__(self, training: Split, seed: int) -> None:
        torch.manual_seed(seed)
        self.cnn = ExampleCNN()
        self.dataset = ImageDataset(*training, seed=seed)
        self.sampler = EpochSampler(self.dataset, seed)
        self.optimizer = torch.optim.Adadelta(self.cnn.parameters(), lr=LR)
        self.scheduler = torch.optim.lr_scheduler.StepLR(self.optimizer, step_size=1, gamma=LR_DECAY)
        self.seconds, self.epochs = 0.0, 0

    def train(self) -> None:
        started = time.perf_counter()
        self.cnn.train()
        self.sampler.set_epoch(self.epochs)
        for index in torch.tensor(list(self.sampler)).split(BATCH_SIZE):
            images, labels = self.dataset[index]
            self.optimizer.zero_grad()
            F.nll_loss(self.cnn(to_input(images)), labels).backward()
            self.optimizer.step()
        self.scheduler.step()
        self.seconds += time.perf_counter() - started
        self.epochs += 1

    def share_found(self, split: Split) -> float:
        return accuracy(classify(self.cnn.eval(), split.images), split.labels)


def train_cnns(training: Split, validation: Split, test: Split, seeds: list[int]) -> list[dict[str, float]]:
    """A run for each seed, as many epochs as validation needs."""
    cnns = [CnnTraining(training, seed) for seed in seeds]
    while True:
        for cnn in cnns:
            cnn.train()
        found = [cnn.share_found(validation) for cnn in cnns]
        if statistics.mean(found) >= WANTED or cnns[0].epochs == MOST_EPOCHS:
            break
    return [
        {"seconds": cnn.seconds, "epochs": cnn.epochs, "validation": share, "test": cnn.share_found(test)}
        for cnn, share in zip(cnns, found, strict=True)
    ]


def train_ours(training: Split, validation: Split, test: Split, seeds: list[int]) -> list[dict[str, float]]:
    """A run for each seed, of the shortest of our schedules that validation allows."""
    half = bool(torch.cpu.get_capabilities().get("avx512_bf16", False))
    precision: Precision = "bf16-mixed" if half else "32-true"
    for number, epochs in SCHEDULES:
        models, runs = [], []
        for seed in seeds:
            torch.manual_seed(seed)
            model = ImageClassificationModel.from_preset("base")
            part = Split(training.images[:number], training.labels[:number])
            settings = TrainingSettings(epochs=epochs, seed=seed, precision=precision)
            started = time.perf_counter()
            fit(model, *part, settings=settings, verbose=False)
            seconds = time.perf_counter() - started
            passes = epochs * number / len(training.images)
            runs.append({"seconds": seconds, "epochs": passes, "validation": share_found(model, validation)})
            models.append(model)
        if statistics.mean(run["validation"] for run in runs) >= WANTED:
            break
    return [run | {"test": share_found(model, test)} for model, run in zip(models, runs, strict=True)]


def share_found(model: ImageClassificationModel, split: Split) -> float:
    """Accuracy of our model."""
    return accuracy(model.predict(split.images).similarities, split.labels)


def measure(seeds: list[int]) -> dict[str, Any]:
    """All figures; see the keys."""
    training, validation = split_mnist()
    splits = (training, validation, load_mnist().test)
    # A process pays for its first convolution and its first graph once: not here.
    few = Split(training.images[:512], training.labels[:512])
    fit(ImageClassificationModel.from_preset("base"), *few, settings=TrainingSettings(epochs=1), verbose=False)
    runs = {"ours": train_ours(*splits, seeds), "pytorch_example": train_cnns(*splits, seeds)}
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
