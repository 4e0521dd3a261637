"""Refusal of images that are not digits: the area under the ROC curve of familiarity, and the refusals of `predict`.

    python examples/train_mnist.py --run-dir runs/mnist
    python benchmarks/unknown_images.py --model runs/mnist/model --pictures FOLDER_OR_ZIP FOLDER_OR_ZIP

Known images are MNIST's test digits. Unknown images are noise; halves of two different digits, left and right or top
and bottom; and pictures in grey, such as CIFAR-10's training images and Omniglot's background set.
"""

import argparse
import io
import zipfile
from pathlib import Path

import numpy as np
import torch
from held_out_classes import auroc
from PIL import Image
from torch import Tensor

from grapheme_pyg import ImageClassificationModel
from grapheme_pyg.datasets import load_mnist

NUMBER = 2000
REJECT = 0.02


def noise(number: int, generator: torch.Generator) -> Tensor:
    """Draws uniform noise, uint8 ``[number, 28, 28]``."""
    return torch.randint(0, 256, (number, 28, 28), generator=generator, dtype=torch.uint8)


def halves(images: Tensor, labels: Tensor, number: int, generator: torch.Generator, *, vertical: bool) -> Tensor:
    """Joins halves of two digits of different classes, uint8 ``[number, 28, 28]``.

    Args:
        images: uint8 ``[N, 28, 28]``.
        labels: ``[N]`` int64.
        number: The number of images to make.
        generator: Chooses the digits.
        vertical: Whether to join left and right halves, rather than top and bottom halves.
    """
    first, second = (torch.randint(len(images), (4 * number,), generator=generator) for _ in range(2))
    differ = (labels[first] != labels[second]).nonzero().flatten()[:number]
    pasted, other = images[first[differ]].clone(), images[second[differ]]
    if vertical:
        pasted[..., 14:] = other[..., 14:]
    else:
        pasted[:, 14:] = other[:, 14:]
    return pasted


def grey_pictures(path: Path, number: int) -> list[Image.Image]:
    """Reads evenly chosen pictures from a folder or a zip file, in grey."""
    suffixes = (".jpg", ".jpeg", ".png")
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.suffix.lower() in suffixes)
        opened = [Image.open(file).convert("L") for file in files[:: max(1, len(files) // number)][:number]]
    else:
        with zipfile.ZipFile(path) as archive:
            names = sorted(name for name in archive.namelist() if name.lower().endswith(suffixes))
            chosen = names[:: max(1, len(names) // number)][:number]
            opened = [Image.open(io.BytesIO(archive.read(name))).convert("L") for name in chosen]
    if not opened:
        raise ValueError(f"--pictures: expected a folder or a zip file with JPEG or PNG files, got {path}")
    return opened


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, metavar="DIR", help="folder of a model with a memory")
    parser.add_argument(
        "--pictures",
        type=Path,
        nargs="*",
        default=[],
        metavar="PATH",
        help="folders or zip files of pictures that are not digits",
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=int, default=NUMBER, metavar="N", help="images of each kind (default: 2,000)")
    arguments = parser.parse_args()
    model = ImageClassificationModel.from_pretrained(arguments.model)
    test = load_mnist().test
    generator = torch.Generator().manual_seed(arguments.seed)
    number = arguments.limit
    unknown: dict[str, Tensor | list[Image.Image]] = {
        "noise": noise(number, generator),
        "halves, left and right": halves(*test, number, generator, vertical=True),
        "halves, top and bottom": halves(*test, number, generator, vertical=False),
    }
    for path in arguments.pictures:
        unknown[f"pictures of {path.name}"] = grey_pictures(path, number)

    known = model.predict(test.images, reject=REJECT)
    assert known.familiarity is not None
    refused = np.mean([label is None for label in known.labels])
    print(f"known digits: {100 * refused:.2f} % refused at reject={REJECT}, calibrated on validation images")
    halves_found = []
    for name, images in unknown.items():
        prediction = model.predict(images, reject=REJECT)
        assert prediction.familiarity is not None
        refused = np.mean([label is None for label in prediction.labels])
        found = auroc(known.familiarity, prediction.familiarity)
        # For comparison, the usual score: the largest probability (Hendrycks and Gimpel, 2017).
        of_confidence = auroc(known.confidences, prediction.confidences)
        scores = f"AUROC {found:.4f} (of confidence {of_confidence:.4f})"
        print(f"{name}: {scores}, {100 * refused:.1f} % refused", flush=True)
        if name.startswith("halves"):
            halves_found.append(found)
    print(f"halves, both ways: AUROC {np.mean(halves_found):.4f}")


if __name__ == "__main__":
    main()
