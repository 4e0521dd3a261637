"""MNIST's digits, taught to an encoder that has never seen them from a few examples each, without training.

    python benchmarks/taught_digits.py --model symbols

Examples are drawn ten times from the training digits; accuracy is on the test digits.
"""

import argparse
import copy
import warnings

import torch

from grapheme_pyg import ImageClassificationModel
from grapheme_pyg.datasets import load_mnist
from grapheme_pyg.errors import TrainingWarning

SHOTS, REJECT = (1, 5, 20), 0.05


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="symbols", help="folder or name of an encoder (%(default)s)")
    parser.add_argument("--draws", type=int, default=10, metavar="N", help="(%(default)s)")
    arguments = parser.parse_args()
    encoder = ImageClassificationModel.from_pretrained(arguments.model).with_classes([])
    data = load_mnist()
    images, labels = data.train
    # Pooled states do not depend on what is taught.
    pooled = encoder.pool_images(data.test.images)
    for shots in SHOTS:
        right, refused = [], []
        for draw in range(arguments.draws):
            generator = torch.Generator().manual_seed(draw)
            model = copy.deepcopy(encoder)
            for number, name in enumerate(data.classes):
                own = (labels == number).nonzero().flatten()
                few = own[torch.randperm(len(own), generator=generator)[:shots]]
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", TrainingWarning)  # a 9 may look like a 7
                    model.add_class(name, images[few])
            memory = model.classifier.memory
            assert memory is not None, "memory: expected that of the encoder"
            hits = model.classifier.similarities(pooled).argmax(dim=1) == data.test.labels
            right.append(100 * hits.double().mean())
            refused.append(100 * (memory.familiarity(pooled) < memory.threshold(REJECT)).double().mean())
        spread = torch.stack(right).std() if len(right) > 1 else 0
        told = f"accuracy {torch.stack(right).mean():.1f} ± {spread:.1f} %"
        print(f"{shots} examples: {told}, {torch.stack(refused).mean():.1f} % refused at {REJECT}", flush=True)


if __name__ == "__main__":
    main()
