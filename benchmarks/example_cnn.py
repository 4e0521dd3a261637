"""A plain CNN to compare with: the network and the settings of PyTorch's own MNIST example.

    python benchmarks/example_cnn.py --seed 1
    python benchmarks/example_cnn.py --augment --run-dir runs/augmented-cnn

The settings are those of https://github.com/pytorch/examples, mnist/main.py: Adadelta at 1.0, times 0.7 after each
epoch; batches of 64; 14 epochs; no augmentation. The order is new in each epoch, as in the original on accelerators.
The training images are those of `examples/train_mnist.py`; nothing was chosen on the held-out images. The test set is
used once, on the final weights.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from grapheme_pyg.augmentation import RandomDegradation, RandomWarp
from grapheme_pyg.cli.data import VALIDATION_SHARE
from grapheme_pyg.datasets import EpochSampler, ImageDataset, Split, load_mnist
from grapheme_pyg.training.fit import WIDE

BATCH_SIZE, LR, LR_DECAY = 64, 1.0, 0.7
# Mean and standard deviation of MNIST's training pixels, as in the original.
MEAN, STD = 0.1307, 0.3081
WEIGHTS, TEST = "model.safetensors", "test.json"


class ExampleCNN(nn.Module):
    """The network of PyTorch's MNIST example."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 32, 3), nn.Conv2d(32, 64, 3)
        self.dropout1, self.dropout2 = nn.Dropout(0.25), nn.Dropout(0.5)
        self.fc1, self.fc2 = nn.Linear(9216, 128), nn.Linear(128, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Computes logarithms of probabilities, ``[N, 10]``, from the result of :func:`to_input`."""
        x = F.relu(self.conv2(F.relu(self.conv1(x))))
        x = self.dropout1(F.max_pool2d(x, 2)).flatten(1)
        x = self.dropout2(F.relu(self.fc1(x)))
        return F.log_softmax(self.fc2(x), dim=1)


def to_input(images: Tensor) -> Tensor:
    """Turns uint8 ``[N, 28, 28]`` into the network's input: float ``[N, 1, 28, 28]``, normalised."""
    if images.dtype != torch.uint8 or images.shape[1:] != (28, 28):
        raise ValueError(f"images: expected uint8 [N, 28, 28], got {images.dtype} {list(images.shape)}")
    return ((images.float() / 255 - MEAN) / STD).unsqueeze(1)


def load_cnn(folder: str | Path) -> ExampleCNN:
    """Loads the network of a finished run, in eval mode."""
    cnn = ExampleCNN()
    cnn.load_state_dict(load_file(Path(folder) / WEIGHTS))
    return cnn.eval()


@torch.no_grad()
def classify(cnn: nn.Module, images: Tensor, batch_size: int = 500) -> Tensor:
    """Computes logits ``[N, 10]`` of uint8 ``[N, 28, 28]`` in batches, by a network in eval mode."""
    if cnn.training:
        raise ValueError("cnn: expected a network in eval mode, got one in training mode")
    return torch.cat([cnn(to_input(batch)) for batch in images.split(batch_size)])


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """Returns the share of rows whose largest logit is that of the label."""
    return (logits.argmax(dim=1) == labels).float().mean().item()


def load_splits(limit: int | None) -> tuple[str, Split, Split, Split]:
    """Returns the name, and the training, validation and test images of ``examples/train_mnist.py``, limited."""
    if limit is not None and limit < 2:
        raise ValueError(f"--limit: expected at least 2, got {limit}")
    data = load_mnist()
    images, labels = data.train.images[:limit], data.train.labels[:limit]
    held_out = max(1, round(VALIDATION_SHARE * len(images)))
    training, validation = Split(images[:-held_out], labels[:-held_out]), Split(images[-held_out:], labels[-held_out:])
    return data.name, training, validation, Split(data.test.images[:limit], data.test.labels[:limit])


def save_run(folder: Path, model: nn.Module, test_accuracy: float, **facts: str | int | float | None) -> None:
    """Writes the weights and then the result, so that a result never lacks its weights."""
    save_file(model.state_dict(), folder / WEIGHTS)
    num_weights = sum(parameter.numel() for parameter in model.parameters())
    result = {"test_accuracy": test_accuracy, "num_weights": num_weights} | facts
    (folder / TEST).write_text(json.dumps(result, allow_nan=False) + "\n")


def train(cnn: ExampleCNN, training: Split, validation: Split, *, epochs: int, augment: str, seed: int) -> None:
    """Trains with the published settings and prints a line for each epoch."""
    kinds: dict[str, list[RandomWarp | RandomDegradation]] = {
        "none": [],
        "moved": [RandomWarp()],
        "robust": [RandomWarp(wide=WIDE), RandomDegradation()],
    }
    dataset = ImageDataset(*training, augment=kinds[augment], seed=seed)
    sampler = EpochSampler(dataset, seed)
    optimizer = torch.optim.Adadelta(cnn.parameters(), lr=LR)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=LR_DECAY)
    for epoch in range(epochs):
        started, total = time.perf_counter(), 0.0
        cnn.train()
        sampler.set_epoch(epoch)
        for index in torch.tensor(list(sampler)).split(BATCH_SIZE):
            images, labels = dataset[index]
            optimizer.zero_grad()
            loss = F.nll_loss(cnn(to_input(images)), labels)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(labels)
        scheduler.step()
        watched = accuracy(classify(cnn.eval(), validation.images), validation.labels)
        print(
            f"epoch {epoch + 1:>3}/{epochs}  train loss {total / len(dataset):.4f}  "
            f"val accuracy {100 * watched:.2f} %  {time.perf_counter() - started:.1f} s",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0, help="seed of weights, order, dropout and augmentation (0)")
    parser.add_argument("--epochs", type=int, default=14, metavar="N", help="(default: 14)")
    group = parser.add_mutually_exclusive_group()
    group.add_argument(
        "--augment", action="store_const", const="moved", default="none", help="warp training images, as we do"
    )
    group.add_argument(
        "--robust", action="store_const", const="robust", dest="augment", help="also degrade them, as we do"
    )
    parser.add_argument("--limit", type=int, metavar="N", help="use only the first N training and N test images")
    parser.add_argument("--run-dir", metavar="DIR", help="folder for results (default: runs/example-cnn-<date>-<time>)")
    arguments = parser.parse_args()
    if arguments.epochs < 1:
        parser.error(f"--epochs: expected at least 1, got {arguments.epochs}")
    name, training, validation, test = load_splits(arguments.limit)
    run_dir = Path(arguments.run_dir or f"runs/example-cnn-{time.strftime('%Y%m%d-%H%M%S')}")
    if (run_dir / TEST).exists():
        raise ValueError(f"--run-dir: expected a folder without a run, got {run_dir}; choose another")
    run_dir.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(arguments.seed)
    cnn = ExampleCNN()
    print(f"{name}: {len(training.images):,} training images; results go to {run_dir}", flush=True)
    started = time.perf_counter()
    train(cnn, training, validation, epochs=arguments.epochs, augment=arguments.augment, seed=arguments.seed)
    seconds = time.perf_counter() - started
    result = accuracy(classify(cnn.eval(), test.images), test.labels)
    facts = {"dataset": name, "seed": arguments.seed, "seconds": seconds, "augment": arguments.augment}
    save_run(run_dir, cnn, result, **facts)
    print(f"test accuracy {100 * result:.2f} %")


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError) as error:
        sys.exit(f"example_cnn.py: {error}")
