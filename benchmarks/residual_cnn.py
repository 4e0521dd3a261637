"""A plain residual CNN to compare with on photographs, with about as much arithmetic as ours on 32×32 pixels.

    python benchmarks/residual_cnn.py CIFAR10
    python benchmarks/residual_cnn.py CIFAR10 --epochs 2 --test

The network has a convolution of 2×2 pixels, then three blocks of a 3×3 convolution, the maximum of 2×2 pixels, and a
residual convolution (He et al., "Deep Residual Learning for Image Recognition", 2016): 46 million multiplications for
an image of 32×32 pixels, where the preset `base` has 48 million. It is trained by SGD with Nesterov's momentum, one
cycle and label smoothing. Epochs, batches, augmentation and validation images are those of `grapheme train`, and so is
the mean over an image and its mirror image. With `--test`, the folder's part called test is used once, at the end.
"""

import argparse
import sys
import time
from dataclasses import replace
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from grapheme_pyg.augmentation import RandomCutout
from grapheme_pyg.cli.data import Part, load
from grapheme_pyg.datasets import EpochSampler, ImageDataset, Split
from grapheme_pyg.training.fit import OF_PHOTOGRAPHS
from grapheme_pyg.training.settings import PRECISIONS, SuitedSettings, TrainingSettings

MOMENTUM, WEIGHT_DECAY = 0.9, 5e-4
STEM, WIDTHS = 24, (40, 152, 152)


class Block(nn.Module):
    """A convolution and the maximum of 2×2 pixels, then a residual convolution."""

    def __init__(self, fan_in: int, fan_out: int) -> None:
        super().__init__()
        self.first, self.second = (nn.Conv2d(width, fan_out, 3, padding=1, bias=False) for width in (fan_in, fan_out))
        self.norms = nn.ModuleList(nn.BatchNorm2d(fan_out) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        """``[N, fan_in, H, W]`` → ``[N, fan_out, H / 2, W / 2]``."""
        x = self.norms[0](F.max_pool2d(self.first(x), 2)).relu()
        out: Tensor = x + self.norms[1](self.second(x)).relu()
        return out


class ResidualCNN(nn.Module):
    """Computes logits from uint8 ``[N, 3, H, W]``."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        blocks = [Block(*ends) for ends in pairwise((STEM, *WIDTHS))]
        self.features = nn.Sequential(nn.Conv2d(3, STEM, 2), nn.BatchNorm2d(STEM), nn.ReLU(), *blocks)
        self.classify = nn.Linear(2 * WIDTHS[-1], num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Computes logits ``[N, num_classes]``."""
        x = (images.float() - 120) / 64  # roughly the mean and standard deviation of photographs
        x = self.features(x.contiguous(memory_format=torch.channels_last)).flatten(2)
        logits: Tensor = self.classify(torch.cat([x.mean(dim=2), x.amax(dim=2)], dim=1))
        return logits


def stacked(part: Part) -> Split:
    """Returns all images of a part as one tensor."""
    images = part.images
    return Split(images if isinstance(images, Tensor) else torch.stack(list(images)), part.labels)


@torch.no_grad()
def accuracy(cnn: nn.Module, split: Split) -> float:
    """Returns the share of images that are recognised, by the mean over each image and its mirror image."""
    cnn.eval()
    logits = [cnn(images).softmax(dim=1) + cnn(images.flip(-1)).softmax(dim=1) for images in split.images.split(500)]
    return (torch.cat(logits).argmax(dim=1) == split.labels).float().mean().item()


def train(cnn: nn.Module, training: Split, lr: float, settings: SuitedSettings) -> None:
    """Trains with a peak learning rate, and prints a line for each epoch."""
    cnn.train()
    epochs, batch_size = settings.epochs, settings.batch_size
    augment = replace(OF_PHOTOGRAPHS, flip=settings.flip), RandomCutout()
    dataset = ImageDataset(*training, augment=augment, seed=settings.seed)
    sampler = EpochSampler(dataset, settings.seed)
    optimizer = torch.optim.SGD(cnn.parameters(), lr, MOMENTUM, weight_decay=WEIGHT_DECAY, nesterov=True)
    steps = epochs * -(-len(dataset) // batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, steps, pct_start=0.25, cycle_momentum=False)
    for epoch in range(epochs):
        started, total = time.perf_counter(), 0.0
        sampler.set_epoch(epoch)
        dataset.set_epoch(epoch)
        for index in torch.tensor(list(sampler)).split(batch_size):
            images, labels = dataset[index]
            with torch.autocast("cpu", torch.bfloat16, enabled=settings.precision == "bf16-mixed"):
                loss = F.cross_entropy(cnn(images), labels, label_smoothing=settings.label_smoothing)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item() * len(labels)
        seconds = time.perf_counter() - started
        print(f"epoch {epoch + 1:>3}/{epochs}  train loss {total / len(dataset):.4f}  {seconds:.1f} s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", metavar="PICTURES", help="images of one size, as for grapheme train")
    parser.add_argument("--epochs", type=int, metavar="N", help="(default: as grapheme train)")
    parser.add_argument("--lr", type=float, default=0.1, help="peak learning rate (%(default)s)")
    parser.add_argument("--size", type=int, metavar="N", help="longer side in pixels, to which images are scaled")
    parser.add_argument("--precision", choices=PRECISIONS[:2], default="32-true", help="(default: %(default)s)")
    parser.add_argument("--limit", type=int, metavar="N", help="use only N images of each part")
    parser.add_argument("--seed", type=int, default=0, help="seed of weights, order and augmentation (0)")
    parser.add_argument("--test", action="store_true", help="evaluate on the test images")
    arguments = parser.parse_args()
    data = load(arguments.data, None, 3, arguments.limit, size=arguments.size)
    torch.manual_seed(arguments.seed)
    cnn = ResidualCNN(len(data.classes))
    num_weights = sum(weight.numel() for weight in cnn.parameters())
    training = stacked(data.training)
    print(f"{data.name}: {len(training.labels):,} training images, {num_weights:,} weights", flush=True)
    started = time.perf_counter()
    settings = TrainingSettings(arguments.epochs, precision=arguments.precision, seed=arguments.seed)
    train(cnn, training, arguments.lr, settings.for_images(len(training.labels), in_colour=True))
    print(f"trained in {time.perf_counter() - started:.0f} s")
    print(f"validation accuracy {100 * accuracy(cnn, stacked(data.validation)):.2f} %")
    if arguments.test:
        if data.test is None:
            parser.error(f"--test: expected a part called test in {arguments.data}, got none")
        print(f"test accuracy {100 * accuracy(cnn, stacked(data.test)):.2f} %")


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError) as error:
        sys.exit(f"residual_cnn.py: {error}")
