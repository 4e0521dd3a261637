"""What planning costs, as a share of a forward pass, and what keeping plans saves.

    python benchmarks/speed_plan.py [MODEL]

Planning looks at the whole graph, and finds what is wrong with it. 128 real digits; MODEL is a folder that a model was
saved in, an untrained one of the preset base if there is none.
"""

import argparse

import torch
from timing import Way, in_turn, machine, show

from grapheme_pyg.datasets import load_mnist
from grapheme_pyg.model import ImageClassificationModel
from grapheme_pyg.testing import plain_operators

BATCH_SIZE = 128
TURNS = 200


@torch.no_grad()
def measure(model: ImageClassificationModel, images: torch.Tensor, turns: int = TURNS) -> dict[str, float]:
    """Median seconds of a forward pass, of planning alone and of a pass with a plan, with kernels and without."""
    batch = model.eval().vision.batch(images)
    plan = model.plan(batch)
    ways: dict[str, Way] = {
        "forward": lambda: model(batch),
        "planning": lambda: model.plan(batch),
        "planned": lambda: model(batch, plan),
    }
    plain = {f"{name}, no kernels": plain_operators()(way) for name, way in ways.items()}
    return in_turn(ways | plain, turns=turns)


def main() -> None:
    parser = argparse.ArgumentParser(description="Times planning against a forward pass.")
    parser.add_argument("model", nargs="?", help="folder of a saved model")
    folder = parser.parse_args().model
    load = ImageClassificationModel.from_pretrained
    model = ImageClassificationModel.from_preset("base") if folder is None else load(folder)
    seconds = measure(model, load_mnist().test.images[:BATCH_SIZE])
    rows = []
    for label, ending in (("yes", ""), ("no", ", no kernels")):
        forward, planning, planned = (1000 * seconds[name + ending] for name in ("forward", "planning", "planned"))
        share = f"{100 * planning / forward:.1f} %"
        rows.append([label, f"{forward:.2f}", f"{planning:.3f}", share, f"{planned:.2f}"])
    show("Planning", ["kernels", "forward, ms", "planning, ms", "share", "forward with a plan, ms"], rows)
    print(f"\n{machine()}")


if __name__ == "__main__":
    main()
