"""Accuracy on digits of other sizes, of a model that was trained on 28×28 pixels.

    python examples/train_mnist.py --run-dir runs/mnist
    python benchmarks/studies/sizes.py --model runs/mnist/model

Digits are enlarged or shrunk by cubic interpolation, with antialiasing. "As they are" keeps the size of cells in
pixels, so that a cell that held a corner in training holds only a piece of a stroke in larger digits. With
`VisionBrain(resize=28)`, images are first scaled to the size of the training images.
"""

import argparse
import sys
from pathlib import Path

import torch.nn.functional as F
from torch import Tensor

sys.path.append(str(Path(__file__).parents[1]))  # helpers of all benchmarks
from common import split_mnist

from grapheme_pyg import ImageClassificationModel, VisionBrain
from grapheme_pyg.datasets import load_mnist
from grapheme_pyg.evaluation import evaluate

SIZES = (14, 20, 28, 42, 56, 112)


def in_size(images: Tensor, side: int) -> Tensor:
    """Scales images to ``[N, side, side]``, uint8.

    Args:
        images: uint8 ``[N, H, W]``.
        side: The new side in pixels.
    """
    if images.shape[1:] == (side, side):
        return images
    drawn = F.interpolate(images[:, None].float(), (side, side), mode="bicubic", antialias=True)
    return drawn[:, 0].round().clamp(0, 255).byte()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="folder of a model trained on MNIST")
    parser.add_argument("--part", choices=("test", "validation"), default="test")
    arguments = parser.parse_args()
    model = ImageClassificationModel.from_pretrained(arguments.model)
    images, labels = load_mnist().test if arguments.part == "test" else split_mnist()[1]
    brains = {
        "as they are": VisionBrain(**model.vision.config | {"resize": None}),
        "`resize=28`": VisionBrain(**model.vision.config | {"resize": 28}),
    }
    print(f"| pixels | {' | '.join(brains)} |\n|---|{'---|' * len(brains)}", flush=True)
    for side in SIZES:
        drawn = in_size(images, side)
        found = {}
        for name, brain in brains.items():
            model.vision = brain
            found[name] = evaluate(model.predict(drawn).probabilities, labels).accuracy
        print(f"| {side} | {' | '.join(f'{100 * value:.2f} %' for value in found.values())} |", flush=True)


if __name__ == "__main__":
    main()
