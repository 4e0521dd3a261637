"""Refuse a class that the model was not trained on, and then learn it from ten images without training.

python examples/new_class.py
python examples/new_class.py --new 3 --examples 50 --epochs 3
"""

import argparse
import logging
import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # otherwise waiting threads spin

import torch

from grapheme_pyg import ImageClassificationModel, TrainingSettings, fit
from grapheme_pyg.datasets import load_mnist


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--new", type=int, default=9, help="the digit that is left out of training (default: 9)")
    parser.add_argument("--examples", type=int, default=10, help="images to learn it from (default: 10)")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--limit", type=int, default=60_000, metavar="N", help="use only the first N images")
    arguments = parser.parse_args()
    logging.basicConfig(format="%(message)s")
    data = load_mnist()
    images, labels = (tensor[: arguments.limit] for tensor in data.train)
    new = labels == arguments.new
    # Labels are renumbered without the new class; one image in ten is for calibration.
    old = (~new).nonzero().flatten()
    known = labels - (labels > arguments.new).long()
    calibration, training = old[::10], old[torch.arange(len(old)) % 10 > 0]

    torch.manual_seed(0)
    names = [name for i, name in enumerate(data.classes) if i != arguments.new]
    model = ImageClassificationModel.from_preset("small", names)
    settings = TrainingSettings(epochs=arguments.epochs, batch_size=64)
    held_out = images[calibration], known[calibration]
    fit(model, images[training], known[training], validation=held_out, settings=settings)

    unseen = data.test.images[data.test.labels == arguments.new][: arguments.limit]
    seen = data.test.images[data.test.labels != arguments.new][: arguments.limit]
    refused = [model.predict(some, reject=0.05).labels.count(None) / len(some) for some in (unseen, seen)]
    print(f"refused: {refused[0]:.1%} of the unknown digit, {refused[1]:.1%} of the others")

    name = data.classes[arguments.new]
    model.add_class(name, images[new][: arguments.examples])
    found, mistaken = (model.predict(some).labels.count(name) / len(some) for some in (unseen, seen))
    print(
        f"after {arguments.examples} examples: {found:.1%} of the new digit recognised, {mistaken:.1%} of others lost"
    )
    cosines, positions = model.nearest(unseen[:1], number=3)
    for cosine, position in zip(cosines[0].tolist(), positions[0].tolist(), strict=True):
        # Examples of added classes come after the remembered training images.
        what = name if position >= len(training) else data.classes[int(labels[training][position])]
        print(f"nearest to the first of them: a remembered {what}, cosine {cosine:.3f}")


if __name__ == "__main__":
    main()
