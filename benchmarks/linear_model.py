"""The simplest classifier of digits to compare with: multinomial logistic regression on the pixels.

    python benchmarks/linear_model.py

Pixels in [0, 1], weights from zero, 100 iterations of L-BFGS on all training images at once: nothing is drawn, so there
are no seeds. The penalty, on half the squared norm of the matrix, was chosen on the 5,000 held-out images:

    penalty              0        1e-5     1e-4     3e-4     1e-3
    validation accuracy  94.18 %  94.24 %  94.14 %  93.94 %  93.58 %

The test set is run once, on the final weights.
"""

import argparse
import sys
import time

import torch
import torch.nn.functional as F
from example_cnn import accuracy, load_splits, make_run_dir, save_run
from torch import Tensor, nn

STEPS, ITERATIONS = 4, 25  # one line is printed for each step


def to_pixels(images: Tensor) -> Tensor:
    """uint8 ``[N, 28, 28]`` as float ``[N, 784]``, in [0, 1]."""
    return images.flatten(1).float() / 255


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--penalty", type=float, default=1e-5, help="(default: 1e-5)")
    parser.add_argument("--limit", type=int, metavar="N", help="use only the first N training and N test images")
    parser.add_argument("--run-dir", metavar="DIR", help="where results go (default: runs/linear-model-<date>-<time>)")
    arguments = parser.parse_args()
    name, training, validation, test = load_splits(arguments.limit)
    run_dir = make_run_dir(arguments.run_dir, "linear-model")
    print(f"{name}: {len(training.images):,} training images; results go to {run_dir}", flush=True)

    started = time.perf_counter()
    pixels, watched = to_pixels(training.images), to_pixels(validation.images)
    model = nn.Linear(pixels.shape[1], 10)
    nn.init.zeros_(model.weight)
    nn.init.zeros_(model.bias)
    # Tolerances of zero: it always takes all its iterations.
    optimizer = torch.optim.LBFGS(
        model.parameters(),
        max_iter=ITERATIONS,
        history_size=10,
        line_search_fn="strong_wolfe",
        tolerance_grad=0,
        tolerance_change=0,
    )

    def objective() -> Tensor:
        optimizer.zero_grad()
        penalty = arguments.penalty / 2 * model.weight.square().sum()
        loss: Tensor = F.cross_entropy(model(pixels), training.labels) + penalty
        loss.backward()
        return loss

    for step in range(STEPS):
        optimizer.step(objective)
        with torch.no_grad():
            loss, logits = F.cross_entropy(model(pixels), training.labels), model(watched)
        print(
            f"iteration {(step + 1) * ITERATIONS:>3}/{STEPS * ITERATIONS}  train loss {loss:.4f}  "
            f"val accuracy {100 * accuracy(logits, validation.labels):.2f} %",
            flush=True,
        )
    seconds = time.perf_counter() - started
    with torch.no_grad():
        result = accuracy(model(to_pixels(test.images)), test.labels)
    save_run(run_dir, model, result, dataset=name, seed=None, seconds=seconds)
    print(f"test accuracy {100 * result:.2f} %")


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError) as error:
        sys.exit(f"linear_model.py: {error}")
