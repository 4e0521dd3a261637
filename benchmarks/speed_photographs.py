"""Time of training on a folder of photographs: our model with its default settings, and a small plain CNN.

The CNN has 206,314 weights, sees the photographs at 64 pixels, and is trained for 20 epochs with the same augmentation.
Times are from the files to final weights, measured in turn; each model is validated once, on every tenth photograph of
a class.

    python benchmarks/speed_photographs.py FOLDER
"""

import argparse
import time
from itertools import pairwise

import torch
from residual_cnn import accuracy, stacked, train
from timing import show
from torch import Tensor, nn

from grapheme_pyg import ImageClassificationModel, TrainingSettings, fit
from grapheme_pyg.cli.data import Data, load

SIZE, EPOCHS, LR, WIDTHS = 64, 20, 0.1, (3, 32, 64, 96, 128)


class PlainCNN(nn.Sequential):
    """Computes logits from uint8 ``[N, 3, 64, 64]``."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        for fan_in, fan_out in pairwise(WIDTHS):
            convolution = nn.Conv2d(fan_in, fan_out, 3, padding=1, bias=False)
            self.extend([convolution, nn.MaxPool2d(2), nn.BatchNorm2d(fan_out), nn.ReLU()])
        side = SIZE >> (len(WIDTHS) - 1)
        self.extend([nn.Flatten(), nn.Linear(side * side * WIDTHS[-1], num_classes)])

    def forward(self, images: Tensor) -> Tensor:
        """Computes logits ``[N, num_classes]``."""
        # Roughly the mean and standard deviation of photographs.
        x = ((images.float() - 120) / 64).contiguous(memory_format=torch.channels_last)
        for layer in self:
            x = layer(x)
        return x


def train_ours(data: Data, seed: int) -> tuple[float, float]:
    """Trains as ``grapheme train`` does; returns seconds and the accuracy on the validation images."""
    torch.manual_seed(seed)
    model = ImageClassificationModel.from_preset("base", data.classes, vision={"in_channels": 3, "resize": data.size})
    finished: list[float] = []
    started = time.perf_counter()
    fit(
        model,
        *data.training,
        settings=TrainingSettings(seed=seed),
        on_epoch_end=lambda *_: finished.append(time.perf_counter()),
    )
    right = model.predict(data.validation.images).similarities.argmax(dim=1) == data.validation.labels
    return finished[-1] - started, right.double().mean().item()


def train_plain(data: Data, seed: int) -> tuple[float, float]:
    """Trains the CNN; returns seconds and the accuracy on the validation images."""
    torch.manual_seed(seed)
    cnn = PlainCNN(len(data.classes))
    started = time.perf_counter()
    training = stacked(data.training)
    settings = TrainingSettings(EPOCHS, seed=seed)
    train(cnn, training, LR, settings.for_images(len(training.labels), in_colour=True))
    seconds = time.perf_counter() - started
    return seconds, accuracy(cnn, stacked(data.validation))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", metavar="FOLDER", help="photographs in colour, as for grapheme train")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], metavar="N")
    parser.add_argument("--only", choices=("ours", "plain"))
    arguments = parser.parse_args()
    rows = []
    for seed in arguments.seeds:
        for name, size, run in (("ours", None, train_ours), ("plain", SIZE, train_plain)):
            if arguments.only in (None, name):
                seconds, right = run(load(arguments.data, None, 3, size=size), seed)
                rows.append([name, f"{seconds:.1f}", f"{100 * right:.2f}"])
                show("training on photographs", ["", "seconds", "validation, %"], rows[-1:])


if __name__ == "__main__":
    main()
