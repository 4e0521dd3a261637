"""Time of training until 99 % of MNIST's digits are recognised: our model, a small CNN, and PyTorch's example.

Times are from raw images to final weights, measured in turn, with all threads and with one; every model is tested once.
The settings of ours and of the small CNN are fixed. Ours were chosen on the last 10,000 training images: the fastest
that recognise as many of them as the small CNN, when both are trained on the others. The small CNN sees each training
image once, in a one-cycle schedule and its faster precision; ours sees nine tenths of them once.
The example's CNN has its published settings and is trained until 99 % of those 5,000 are recognised, with the first
seed only, since it takes long.

    python benchmarks/speed_time_to_99.py --seeds 0 1 2 3 4
"""

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from common import split_mnist
from example_cnn import BATCH_SIZE, LR, LR_DECAY, ExampleCNN, accuracy, classify, to_input
from timing import Way, fastest_precision, in_turn, show
from torch import nn

from grapheme_pyg import ImageClassificationModel, TrainingSettings, VisionBrain, fit
from grapheme_pyg.datasets import EpochSampler, ImageDataset, Split, load_mnist

WANTED = 0.99
MOST_EPOCHS = 14
# The small CNN's batch size, peak learning rate, Adam's betas, and the share of steps in which the rate rises.
SMALL_BATCH, SMALL_LR, BETAS, RISE = 256, 0.01, (0.7, 0.9), 0.25
# Number of images on which its precisions are compared.
TRIED = 5120
# Rounds of our model on each level, its batch size, Muon's peak learning rate, and the share of images that it sees.
ROUNDS, OUR_BATCH, KERNEL_LR, SEEN = (1, 2, 1), 192, 0.035, 0.9

Run = dict[str, float]
# A training returns the moment when its weights are final, and a function that measures accuracy.
Training = Callable[[], tuple[float, Callable[[Split], float]]]


class SmallCNN(nn.Sequential):
    """A CNN of two convolutions and two linear layers, with 215,194 weights."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(1, 24, 5),
            nn.MaxPool2d(2),
            nn.ReLU(),
            nn.Conv2d(24, 32, 3),
            nn.MaxPool2d(2),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(800, 256),
            nn.ReLU(),
            nn.Linear(256, 10),
        )


def train_small(training: Split, seed: int, dtype: torch.dtype) -> tuple[float, Callable[[Split], float]]:
    """Trains the small CNN for an epoch; see ``Training``."""
    torch.manual_seed(seed)
    cnn = SmallCNN()
    cnn.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.Adam(cnn.parameters(), lr=SMALL_LR, betas=BETAS, fused=True)
    parts = torch.randperm(len(training.images)).split(SMALL_BATCH)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, SMALL_LR, total_steps=len(parts) + 1, pct_start=RISE, cycle_momentum=False
    )
    for index in parts:
        x = to_input(training.images[index]).contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            logits = cnn(x)
        optimizer.zero_grad()
        F.cross_entropy(logits.float(), training.labels[index]).backward()
        optimizer.step()
        scheduler.step()
    finished = time.perf_counter()
    cnn.eval()
    return finished, lambda split: accuracy(classify(cnn, split.images), split.labels)


def faster_precision(training: Split) -> torch.dtype:
    """Returns the precision in which the small CNN trains in less time."""
    few = Split(training.images[:TRIED], training.labels[:TRIED])
    dtypes = {str(dtype): dtype for dtype in (torch.float32, torch.bfloat16)}
    ways: dict[str, Way] = {name: partial(train_small, few, 0, dtype) for name, dtype in dtypes.items()}
    seconds = in_turn(ways, turns=3)
    return dtypes[min(seconds, key=lambda name: seconds[name])]


def train_ours(training: Split, seed: int) -> tuple[float, Callable[[Split], float]]:
    """Trains our model for an epoch; see ``Training``."""
    torch.manual_seed(seed)
    finished: list[float] = []
    model = ImageClassificationModel(VisionBrain(relative=False, rounds=ROUNDS, extend=False))
    settings = TrainingSettings(
        epochs=1,
        batch_size=OUR_BATCH,
        kernel_lr=KERNEL_LR,
        augment=False,
        label_smoothing=0.1,
        precision=fastest_precision(),
        seed=seed,
    )
    few = [part[: round(SEEN * len(part))] for part in training]

    def stop_the_clock(*_: object) -> None:
        finished.append(time.perf_counter())

    # The memory of training images, which is filled after training, is no part of the weights.
    fit(model, *few, settings=settings, on_epoch_end=stop_the_clock, verbose=False)
    return finished[0], lambda split: accuracy(model.predict(split.images).similarities, split.labels)


class CnnTraining:
    """Training of PyTorch's example, an epoch at a time."""

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

    def accuracy_on(self, split: Split) -> float:
        return accuracy(classify(self.cnn.eval(), split.images), split.labels)


def train_example(training: Split, validation: Split, test: Split, seed: int) -> Run:
    """Trains PyTorch's example until its accuracy on the validation images suffices."""
    cnn = CnnTraining(training, seed)
    found = 0.0
    while found < WANTED and cnn.epochs < MOST_EPOCHS:
        cnn.train()
        found = cnn.accuracy_on(validation)
    return {"seconds": cnn.seconds, "epochs": cnn.epochs, "test": cnn.accuracy_on(test)}


def timed(train: Training, test: Split) -> Run:
    """Measures the seconds of a training of one epoch, and its accuracy on the test images."""
    started = time.perf_counter()
    finished, accuracy_on = train()
    return {"seconds": finished - started, "epochs": 1, "test": accuracy_on(test)}


def measure(seeds: list[int], *, validate: bool = False) -> dict[str, Any]:
    """Measures all figures; see the keys.

    Args:
        seeds: Seeds of the trainings.
        validate: Whether to test on the last 5,000 training images, which are held out, and not on the test images.
    """
    training, validation = split_mnist()
    everything = load_mnist()
    whole, test = (training, validation) if validate else (everything.train, everything.test)
    # The first graph and the first convolution of a process take longer, and are not timed.
    train_ours(Split(training.images[:512], training.labels[:512]), 0)
    dtype = faster_precision(training)
    runs: dict[str, list[Run]] = {}
    threads = torch.get_num_threads()
    for seed in seeds:
        for number, suffix in ((threads, ""), (1, "_one_thread")):
            torch.set_num_threads(number)
            ours = timed(partial(train_ours, whole, seed), test)
            small = timed(partial(train_small, whole, seed, dtype), test)
            runs.setdefault(f"ours{suffix}", []).append(ours)
            runs.setdefault(f"small_cnn{suffix}", []).append(small)
        torch.set_num_threads(threads)
    if not validate:
        runs["pytorch_example"] = [train_example(training, validation, test, seeds[0])]
    seconds = {name: statistics.mean(run["seconds"] for run in some) for name, some in runs.items()}
    figures = {f"seconds_to_99_{name}": value for name, value in seconds.items()}
    for suffix in ("", "_one_thread"):
        figures[f"time_to_99_vs_small_cnn{suffix}"] = seconds[f"ours{suffix}"] / seconds[f"small_cnn{suffix}"]
    if not validate:
        figures["times_sooner"] = seconds["pytorch_example"] / seconds["ours"]
    return figures | {"runs_to_99": runs}


def report(figures: dict[str, Any]) -> None:
    """Prints tables."""
    rows = [
        [name, f"{run['seconds']:.1f}", f"{run['epochs']:.2g}", f"{100 * run['test']:.2f}"]
        for name, some in figures["runs_to_99"].items()
        for run in some
    ]
    show("training until 99 %", ["", "seconds", "epochs", "test, %"], rows)
    means = {name: statistics.mean(run["test"] for run in some) for name, some in figures["runs_to_99"].items()}
    print("\ntest, mean:", ", ".join(f"{name} {100 * mean:.2f} %" for name, mean in means.items()))
    for suffix, how in (("", "all threads"), ("_one_thread", "one thread")):
        print(f"{figures[f'time_to_99_vs_small_cnn{suffix}']:.2f} of the small CNN's time, with {how}")
    if "times_sooner" in figures:
        print(f"{figures['times_sooner']:.1f} times sooner than PyTorch's example")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4], metavar="N", help="(default: 0 … 4)")
    parser.add_argument("--validate", action="store_true", help="test on training images that are held out")
    arguments = parser.parse_args()
    report(measure(arguments.seeds, validate=arguments.validate))


if __name__ == "__main__":
    main()
