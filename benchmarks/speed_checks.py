"""What checking graphs costs, as a share of the forward pass that it is part of.

    python benchmarks/speed_checks.py [MODEL]

128 real digits; MODEL is a folder that a model was saved in, an untrained one of the preset base if there is none.
"""

import argparse
from functools import partial

import torch
from speed_steps import without_kernels
from timing import in_turn, machine, show

from grapheme_pyg.datasets import load_mnist
from grapheme_pyg.model import ImageClassificationModel

BATCH_SIZE = 128
TURNS = 200


@torch.no_grad()
def measure(model: ImageClassificationModel, images: torch.Tensor, turns: int = TURNS) -> dict[str, float]:
    """Median seconds of a forward pass with its checks, and of the checks alone, with kernels and without."""
    batch = model.eval().vision.batch(images)
    ways = {"forward": lambda: model(batch), "checks": lambda: model.check(batch)}
    plain = {f"{name}, no kernels": partial(without_kernels, way) for name, way in ways.items()}
    return in_turn(ways | plain, turns=turns)


def main() -> None:
    parser = argparse.ArgumentParser(description="Times the checks of graphs against a forward pass.")
    parser.add_argument("model", nargs="?", help="folder of a saved model")
    folder = parser.parse_args().model
    load = ImageClassificationModel.from_pretrained
    model = ImageClassificationModel.from_preset("base") if folder is None else load(folder)
    seconds = measure(model, load_mnist().test.images[:BATCH_SIZE])
    rows = []
    for label, ending in (("yes", ""), ("no", ", no kernels")):
        forward, checks = (1000 * seconds[name + ending] for name in ("forward", "checks"))
        rows.append([label, f"{forward:.2f}", f"{checks:.3f}", f"{100 * checks / forward:.1f} %"])
    show("Checks of graphs", ["kernels", "forward, ms", "checks, ms", "share"], rows)
    print(f"\n{machine()}")


if __name__ == "__main__":
    main()
