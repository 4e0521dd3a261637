"""Images a second for making graphs and for training from raw images; and the time for a single image.

Graphs of the same images are also made by scikit-image's SLIC (alone, and as our superpixel graphs) and by PyG's
`ToSLIC`. Training is the library's `fit` with its default model: augmentation, graphs, forward and backward pass,
clipping, optimiser and averaging.

The large image is noise, in which every cell is active. Digits of many sizes are compared with the same number of
digits in one size. For a busy neighbour, two threads share a core.

    python benchmarks/speed_throughput.py
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from skimage.segmentation import slic
from timing import Way, fastest_precision, in_turn, memory_of, show
from torch import Tensor
from torch_geometric.transforms import ToSLIC

from grapheme_pyg import ImageClassificationModel, TrainingSettings, VisionBrain, fit
from grapheme_pyg.augmentation import RandomWarp
from grapheme_pyg.cli import SPINS
from grapheme_pyg.datasets import Split, load_mnist

BATCH_SIZE, FEW, FEWER = 512, 16, 6000
SEGMENTS = 75
# Side of the large image; number of images of many sizes, and the range of their sides.
LARGE, MIXED, SIDES = 2048, 1536, (20, 36)
# Number of steps with a busy neighbour, and images in a step.
STEPS, BUSY_BATCH = 20, 128
FIGURES = (
    "train_images_per_s",
    "train_images_per_s_with_defaults",
    "augment_share_of_training",
    "build_share_of_training",
    "time_of_pyg_loader_vs_images",
    "mixed_sizes_ratio",
    "busy_neighbour_ratio",
    "superpixel_images_per_s",
    "full_2048_seconds",
    "full_2048_peak_vs_graph",
    "single_image_ms",
)


def building(images: Tensor, turns: int) -> dict[str, float]:
    """Measures images a second for each way of making graphs."""
    parts = images[: 4 * BATCH_SIZE].split(BATCH_SIZE)
    grid, everything, superpixel, by_scikit_image, blob = (
        VisionBrain(),
        VisionBrain(edge_attr=True, seg=True),
        VisionBrain("superpixel"),
        VisionBrain("superpixel", slic="scikit-image"),
        VisionBrain("blob"),
    )
    to_slic = ToSLIC(n_segments=SEGMENTS, channel_axis=-1)
    ways: dict[str, tuple[int, Callable[[], object]]] = {
        "grid": (len(parts) * BATCH_SIZE, lambda: [grid.batch(part) for part in parts]),
        "grid, edge_attr and seg too": (len(parts) * BATCH_SIZE, lambda: [everything.batch(part) for part in parts]),
        "grid, one by one": (FEW, lambda: [grid(image) for image in images[:FEW]]),
        "blob": (BATCH_SIZE, lambda: blob.batch(images[:BATCH_SIZE])),
        "superpixel": (BATCH_SIZE, lambda: superpixel.batch(images[:BATCH_SIZE])),
        "superpixel, by scikit-image": (BATCH_SIZE, lambda: by_scikit_image.batch(images[:BATCH_SIZE])),
        "SLIC of scikit-image alone": (
            FEW,
            lambda: [slic(image.numpy(), n_segments=SEGMENTS, channel_axis=None) for image in images[:FEW]],
        ),
        "ToSLIC of PyG": (FEW, lambda: [to_slic(image[None].float() / 255) for image in images[:FEW]]),
    }
    seconds = in_turn({name: way for name, (_, way) in ways.items()}, turns=turns)
    return {name: count / seconds[name] for name, (count, _) in ways.items()}


def training(data: Split, turns: int) -> dict[str, Any]:
    """Measures images a second over whole epochs from raw images, and the shares of augmentation and graph building.

    It is measured in the fastest precision with batches of 256, by default (float32, batches of 128), and with PyG's
    DataLoader.
    """
    images, labels = data
    half = fastest_precision()
    few = Split(images[:FEWER], labels[:FEWER])
    # With PyG's loader, two processes load, and the training process leaves them a core.
    ways: dict[str, tuple[Split, TrainingSettings, int]] = {
        "fastest": (data, TrainingSettings(epochs=2, precision=half, batch_size=256), torch.get_num_threads()),
        "default": (data, TrainingSettings(epochs=2), torch.get_num_threads()),
        "few": (few, TrainingSettings(epochs=2, precision=half), torch.get_num_threads()),
        "pyg": (few, TrainingSettings(epochs=2, precision=half, loader="pyg", num_workers=2), 1),
    }
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(turns):
        for name, (split, settings, threads) in ways.items():
            before = torch.get_num_threads()
            torch.set_num_threads(threads)
            torch.manual_seed(0)
            model = ImageClassificationModel.from_preset("base")
            history = fit(model, *split, settings=settings, verbose=False)
            torch.set_num_threads(before)
            # The first epoch warms up.
            rates[name].append(history[-1]["graphs_per_second"])
    medians = {name: statistics.median(values) for name, values in rates.items()}
    vision, warp = VisionBrain(), RandomWarp()
    maps = warp.draw(256, torch.Generator().manual_seed(0))
    parts: dict[str, Way] = {
        "augment": lambda: warp(images[:256], maps),
        "build": lambda: vision.batch(images[:256], labels[:256]),
    }
    seconds = in_turn(parts, turns=40)
    return {
        "train_images_per_s": medians["fastest"],
        "train_images_per_s_with_defaults": medians["default"],
        "time_of_pyg_loader_vs_images": medians["few"] / medians["pyg"],
        **{f"{name}_share_of_training": seconds[name] / 256 * medians["fastest"] for name in parts},
    }


def single_image(images: Tensor) -> float:
    """Measures milliseconds from an image to its prediction."""
    model = ImageClassificationModel.from_preset("base").eval()
    seconds = []
    for image in images[:200]:
        started = time.perf_counter()
        model.predict(image[None])
        seconds.append(time.perf_counter() - started)
    return 1e3 * statistics.median(seconds)


def large_image(turns: int) -> dict[str, float]:
    """Measures the seconds in which a large graph is made, and the peak of memory as a multiple of the graph's size."""
    generator = torch.Generator().manual_seed(0)
    image = torch.randint(256, (LARGE, LARGE), generator=generator, dtype=torch.uint8)
    # Relative to its ground, noise would be blank.
    vision = VisionBrain(relative=False)
    fields = vision(image).to_dict().values()
    size = sum(field.nbytes for field in fields if isinstance(field, Tensor))
    del fields
    peak = memory_of(lambda: vision(image))
    seconds = in_turn({"graph": lambda: vision(image)}, turns=turns, warm_up=0)["graph"]
    return {"full_2048_seconds": seconds, "full_2048_peak_vs_graph": peak / size}


def mixed_sizes(data: Split, turns: int) -> float:
    """Measures the time of training on digits of many sizes, relative to the same number in one size."""
    images, labels = data.images[:MIXED], data.labels[:MIXED]
    generator = torch.Generator().manual_seed(0)
    least, most = SIDES
    sizes = torch.randint(least, most + 1, (len(images), 2), generator=generator).tolist()
    resized = [
        F.interpolate(image[None, None].float(), size=size, mode="bilinear", antialias=True)[0, 0].round().byte()
        for image, size in zip(images, sizes, strict=True)
    ]
    seconds: dict[str, list[float]] = {"one": [], "many": []}
    for _ in range(turns):
        for name, some in (("one", images), ("many", resized)):
            torch.manual_seed(0)
            model = ImageClassificationModel.from_preset("base")
            settings = TrainingSettings(epochs=2, batch_size=BUSY_BATCH)
            seconds[name].append(fit(model, some, labels, settings=settings, verbose=False)[-1]["seconds"])
    return statistics.median(seconds["many"]) / statistics.median(seconds["one"])


def busy_neighbour(turns: int) -> float:
    """Measures the time of steps by two threads on one core, relative to two cores, in separate processes."""
    seconds: dict[int, list[float]] = {1: [], 2: []}
    environment = os.environ | {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": SPINS, "OMP_NUM_THREADS": "2"}
    for _ in range(turns):
        for cores, times in seconds.items():
            command = [sys.executable, __file__, "--cores", str(cores), str(STEPS), str(BUSY_BATCH)]
            done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)  # noqa: S603
            times.append(float(done.stdout))
    return statistics.median(seconds[1]) / statistics.median(seconds[2])


def print_seconds_on(cores: int, steps: int, batch_size: int) -> None:
    """Prints the seconds of a step in the separate process."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
    torch.manual_seed(0)
    images, labels = (values[:batch_size] for values in load_mnist().train)
    model = ImageClassificationModel.from_preset("base")
    batch = model.vision.batch(images, labels)

    def step() -> None:
        F.cross_entropy(model(batch), labels).backward()

    print(in_turn({"step": step}, turns=steps)["step"])


def measure(turns: int) -> dict[str, Any]:
    """Measures all figures; see the keys."""
    data = load_mnist().train
    rates = building(data.images, max(3, 3 * turns))
    return {
        "superpixel_images_per_s": rates["superpixel"],
        "mixed_sizes_ratio": mixed_sizes(data, turns),
        "busy_neighbour_ratio": busy_neighbour(turns),
        **large_image(turns),
        "build_images_per_s": rates,
        "grid_build_images_per_s": rates["grid, edge_attr and seg too"],
        "single_image_ms": single_image(data.images),
        **training(data, turns),
    }


def report(figures: dict[str, Any]) -> None:
    """Prints tables."""
    rows = [[name, f"{rate:,.0f}"] for name, rate in figures["build_images_per_s"].items()]
    show("graphs of MNIST digits made in a second", ["", "images/s"], rows)
    others = [[name, f"{figures[name]:,.2f}"] for name in FIGURES]
    show("training and prediction", ["", ""], others)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=3, metavar="N", help="how often each is trained (3)")
    parser.add_argument(
        "--cores", nargs=3, type=int, metavar="N", help="print the seconds of a step: cores, steps, images"
    )
    arguments = parser.parse_args()
    if arguments.cores:
        print_seconds_on(*arguments.cores)
    else:
        report(measure(arguments.turns))


if __name__ == "__main__":
    main()
