"""How accuracy falls as test images, or the graphs made of them, are corrupted: our models beside CNNs.

    python examples/train_mnist.py --run-dir runs/ours
    python benchmarks/example_cnn.py --augment --run-dir runs/cnn
    python benchmarks/robustness.py --model ours=runs/ours/model --cnn CNN=runs/cnn

Nothing is trained here. With `--augment` the CNN is trained on the same distorted images as ours, among which are
small rotations, shifts and changes of size, but no noise, blur or other corruption. Prints the mean accuracy over the
severities of each corruption; writes every accuracy to `benchmarks/results/robustness.json` and draws
`docs/images/robustness.png`.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import example_cnn
import torch
from corruptions import CORRUPTIONS, PROBABILITIES, drop_edges, drop_nodes
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Rectangle
from matplotlib.ticker import MultipleLocator
from torch import Tensor, nn
from torch_geometric.data import Batch

from grapheme_pyg import ImageClassificationModel, VisionBrain
from grapheme_pyg.datasets import Split, load_mnist

ROOT = Path(__file__).parents[1]
BATCH_SIZE = 250
NODES, EDGES = "graph: cells dropped", "graph: edges dropped"
# The digit in the picture's strips: a 2.
EXAMPLE = 1
COLUMNS = 4
# A hue for each kind of model, a shade for each model.
SHADES = {
    "ours": ("#1565c0", "#4fc3f7", "#0d2b6b", "#26a69a", "#7e57c2"),
    "CNN": ("#e65100", "#ffb300", "#8d2f0a", "#c2185b", "#8d6e63"),
}
STYLES = {"ours": "o-", "CNN": "s--"}


@dataclass(frozen=True)
class Contestant:
    """A model under test, and how it finds the classes of uint8 ``[N, 28, 28]``."""

    name: str
    kind: str
    model: nn.Module
    classify: Callable[[Tensor], Tensor]


def load_ours(name: str, folder: Path) -> Contestant:
    model = ImageClassificationModel.from_pretrained(folder)
    return Contestant(name, "ours", model, lambda images: model.predict(images, BATCH_SIZE).similarities.argmax(dim=1))


def load_cnn(name: str, folder: Path) -> Contestant:
    cnn = example_cnn.load_cnn(folder)
    return Contestant(name, "CNN", cnn, lambda images: example_cnn.classify(cnn, images).argmax(dim=1))


def corrupt_graphs(
    kind: str, batch: Batch, p: float, vision: VisionBrain, generator: torch.Generator, read: Tensor | None = None
) -> Batch:
    if kind == NODES:
        return drop_nodes(batch, p, vision, generator)
    return drop_edges(batch, p, generator, read=read)


@torch.no_grad()
def classify_corrupted(kind: str, model: ImageClassificationModel, images: Tensor, p: float, seed: int) -> Tensor:
    """Classes of images whose graphs are corrupted; the draws are the same for every p and every like model."""
    generator = torch.Generator().manual_seed(seed)
    classes = []
    for part in images.split(BATCH_SIZE):
        batch = model.vision.batch(part)
        read = torch.cat(model.readout(batch.edge_index, batch.node_type, batch.num_nodes))
        classes.append(model(corrupt_graphs(kind, batch, p, model.vision, generator, read)).argmax(dim=1))
    return torch.cat(classes)


def measure(contestants: list[Contestant], images: Tensor, labels: Tensor, seed: int) -> Iterator[dict[str, Any]]:
    """For each corruption its name, unit, severities, and for each model its accuracies; first of all, none at all."""

    def accuracy(predicted: Tensor) -> float:
        return int((predicted == labels).sum()) / len(labels)

    clean = {one.name: [accuracy(one.classify(images))] for one in contestants}
    yield {"name": "none", "unit": "", "severities": [], "accuracy": clean}
    for corruption in CORRUPTIONS:
        found: dict[str, list[float]] = {one.name: [] for one in contestants}
        for severity in corruption.severities:
            corrupted = corruption(images, severity, seed)
            for one in contestants:
                found[one.name].append(accuracy(one.classify(corrupted)))
        described = {"name": corruption.name, "unit": corruption.unit, "severities": list(corruption.severities)}
        yield described | {"accuracy": found}
    ours = {one.name: one.model for one in contestants if isinstance(one.model, ImageClassificationModel)}
    for kind in (NODES, EDGES) if ours else ():
        found = {
            name: [accuracy(classify_corrupted(kind, model, images, p, seed)) for p in PROBABILITIES]
            for name, model in ours.items()
        }
        yield {"name": kind, "unit": "probability", "severities": list(PROBABILITIES), "accuracy": found}


def print_row(title: str, accuracies: dict[str, list[float]], names: list[str]) -> None:
    means = {name: f"{100 * sum(row) / len(row):.1f} %" for name, row in accuracies.items()}
    print(f"{title:26}" + "".join(f"{means.get(name, '-'):>{max(12, len(name) + 2)}}" for name in names), flush=True)


def draw(results: dict[str, Any], image: Tensor, vision: VisionBrain | None) -> Figure:
    """A panel for each corruption: accuracy over severity, and above it what becomes of one image."""
    clean, *corruptions = results["corruptions"]
    rows = len(corruptions) // COLUMNS + 1  # one place at least is left for the legend
    layout = ConstrainedLayoutEngine(h_pad=0.03, w_pad=0.06, hspace=0.01, wspace=0.02)
    figure = Figure(figsize=(3.3 * COLUMNS, 2.95 * rows), layout=layout)
    axes = figure.subplots(2 * rows, COLUMNS, height_ratios=(1, 3.6) * rows)
    panels = [(axes[2 * i, j], axes[2 * i + 1, j]) for i in range(rows) for j in range(COLUMNS)]
    for (strip, plot), corruption in zip(panels, corruptions, strict=False):
        severities = corruption["severities"]
        draw_strip(strip, corruption["name"], severities, image, vision, results["seed"])
        left = {kind: iter(SHADES[kind]) for kind in SHADES}
        for name, described in results["models"].items():
            style = {"color": next(left[described["kind"]], "gray"), "markersize": 3.5, "linewidth": 1.4}
            if name in corruption["accuracy"]:
                accuracy = [100 * value for value in clean["accuracy"][name] + corruption["accuracy"][name]]
                plot.plot(accuracy, STYLES[described["kind"]], label=name, **style)
        plot.axhline(10, color="gray", linestyle=":", linewidth=1, label="chance")
        plot.set(xlim=strip.get_xlim(), ylim=(0, 102), xlabel=corruption["unit"])
        plot.set_xticks(range(len(severities) + 1), ["none", *(f"{severity:g}" for severity in severities)])
        plot.yaxis.set_major_locator(MultipleLocator(25))
        plot.tick_params(labelsize="small")
        plot.grid(alpha=0.25, linewidth=0.6)
        plot.spines[["top", "right"]].set_visible(False)
    for row in range(rows):
        axes[2 * row + 1, 0].set_ylabel("accuracy (%)")
    for ax in (ax for pair in panels[len(corruptions) :] for ax in pair):
        ax.axis("off")
    legend = panels[0][1].get_legend_handles_labels()
    title = f"the first {results['images']:,} test images"
    panels[-1][1].legend(*legend, loc="upper center", frameon=False, title=title)
    return figure


def draw_strip(
    ax: Axes, name: str, severities: list[float], image: Tensor, vision: VisionBrain | None, seed: int
) -> None:
    """What becomes of an image, above each tick; of graphs, the finest cells or the edges between them that stay."""
    corruption = {one.name: one for one in CORRUPTIONS}.get(name)
    for k, severity in enumerate([None, *severities]):
        left, width, tile = k - 0.46, 0.92, image
        ax.add_patch(Rectangle((left, 0), width, 1, fill=False, edgecolor="#b0b0b0", linewidth=0.6, zorder=3))
        if corruption is not None and severity is not None:
            tile = corruption(image[None], severity, seed)[0]
        elif corruption is None and vision is not None:
            generator = torch.Generator().manual_seed(seed)
            seeing = VisionBrain(**(vision.config | {"seg": True}))
            graph = corrupt_graphs(name, seeing.batch(image[None]), severity or 0, seeing, generator)
            # White where there is no cell, so that it is not taken for a cell that is black.
            tile = torch.where(graph.seg.view(image.shape) >= 0, 0.8 * image, 255)
            if name == EDGES:
                tile = torch.full_like(image, 255)
                ends = graph.edge_index[:, graph.level[graph.edge_index[1]] == 1].t()
                place = graph.pos * torch.tensor([width, -1]) + torch.tensor([left, 1])
                ax.add_collection(LineCollection(place[ends].tolist(), colors="black", linewidths=0.35))
        extent = (left, left + width, 0, 1)
        ax.imshow(tile.numpy(), cmap="gray", vmin=0, vmax=255, extent=extent, aspect="auto", interpolation="nearest")
    ax.set_title(name, fontsize="medium", fontweight="bold", pad=4)
    ax.set(xlim=(-0.5, len(severities) + 0.5), ylim=(-0.02, 1.02))
    ax.axis("off")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    several = {"action": "extend", "nargs": "+", "default": [], "metavar": "[NAME=]FOLDER"}
    parser.add_argument("--model", **several, help="folders that save_pretrained wrote")  # type: ignore[arg-type]
    parser.add_argument("--cnn", **several, help="run folders of example_cnn.py")  # type: ignore[arg-type]
    parser.add_argument("--limit", type=int, default=2000, metavar="N", help="use the first N test images (2000)")
    parser.add_argument("--seed", type=int, default=0, help="of the corruptions (0)")
    parser.add_argument("--data-dir", metavar="DIR", help="folder with MNIST's four files (default: $GRAPHEME_DATA)")
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks/results/robustness.json", metavar="FILE")
    parser.add_argument("--picture", type=Path, default=ROOT / "docs/images/robustness.png", metavar="FILE")
    return parser.parse_args()


def load_contestants(arguments: argparse.Namespace) -> list[Contestant]:
    """The models by the names given, or else by the names of their runs."""
    contestants: dict[str, Contestant] = {}
    for load, given in ((load_ours, arguments.model), (load_cnn, arguments.cnn)):
        for text in given:
            name, _, path = text.rpartition("=")
            folder = Path(path)
            name = name or (folder.resolve().parent if folder.name == "model" else folder.resolve()).name
            if name in contestants:
                raise ValueError(f"--model, --cnn: expected distinct names, got {name!r} twice; give NAME=FOLDER")
            contestants[name] = load(name, folder)
    if not contestants:
        raise ValueError("--model, --cnn: expected at least one model, got none")
    return list(contestants.values())


def main() -> None:
    arguments = parse_arguments()
    if arguments.limit < 1:
        raise ValueError(f"--limit: expected a positive integer, got {arguments.limit}")
    contestants = load_contestants(arguments)
    data = load_mnist(arguments.data_dir)
    test = Split(data.test.images[: arguments.limit], data.test.labels[: arguments.limit])
    started = time.perf_counter()
    names = [one.name for one in contestants]
    print(
        f"accuracy on the first {len(test.images):,} of {len(data.test.images):,} test images of {data.name}, ", end=""
    )
    print("mean over the severities of each corruption")
    print(f"{'':26}" + "".join(f"{name:>{max(12, len(name) + 2)}}" for name in names))
    rows = []
    for row in measure(contestants, test.images, test.labels, arguments.seed):
        print_row(row["name"], row["accuracy"], names)
        rows.append(row)
    of_images = [row["accuracy"] for row in rows[1 : len(CORRUPTIONS) + 1]]
    print_row(
        "mean of those of images", {name: [value for row in of_images for value in row[name]] for name in names}, names
    )
    print(f"{time.perf_counter() - started:.0f} s with {torch.get_num_threads()} threads")
    results = {
        "dataset": data.name,
        "images": len(test.images),
        "seed": arguments.seed,
        "models": {
            one.name: {"kind": one.kind, "num_weights": sum(weight.numel() for weight in one.model.parameters())}
            for one in contestants
        },
        "corruptions": rows,
    }
    for file in (arguments.results, arguments.picture):
        file.parent.mkdir(parents=True, exist_ok=True)
    arguments.results.write_text(json.dumps(results, indent=1) + "\n")
    vision = next((one.model.vision for one in contestants if isinstance(one.model, ImageClassificationModel)), None)
    draw(results, data.test.images[EXAMPLE], vision).savefig(arguments.picture, dpi=110)


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError) as error:
        sys.exit(f"robustness.py: {error}")
