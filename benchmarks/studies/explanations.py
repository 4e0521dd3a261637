"""Do explanations name what decides? Edges or pixels are taken away, or put back, in the order that they are given.

python benchmarks/studies/explanations.py runs/results/base-seed0/model
python benchmarks/studies/explanations.py runs/results/base-seed0/model --split train

For each method, over digits: the area under the probability of the predicted class while edges are removed, the most
supporting ones first (lower is better), and while only those are kept (higher is better); the same for pixels that are
not background, set to background or kept (Petsiuk et al., "RISE", 2018). Fidelity (Amara et al., "GraphFramEx", 2022,
as in PyG's ``explain.metric``) is the share of predictions that change when the first tenth of the edges is removed
(fidelity+, higher is better), or when only the first half is kept (fidelity-, lower is better). Random orders are drawn
several times. Prints a table in Markdown; with --picture, draws the curves.
"""

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor
from torch_geometric.data import Batch
from torch_geometric.explain.algorithm.utils import clear_masks, set_masks

from grapheme_pyg import ImageClassificationModel, explain
from grapheme_pyg.datasets import load_mnist
from grapheme_pyg.explanation.attribution import METHODS, Lead, frozen_copy, gradient
from grapheme_pyg.explanation.pixels import on_pixels
from grapheme_pyg.visualization import draw_explanation
from grapheme_pyg.visualization.text import as_label

SHARES = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0)
REMOVED, KEPT = SHARES.index(0.1), SHARES.index(0.5)
BATCH = 100
# Of the picture: where in the split its example is.
EXAMPLE = 18
Orders = list[Tensor]


class Logit(Lead):
    """A logit instead of its lead over the others, to compare."""

    def forward(
        self,
        x: Tensor,
        edge_index: Tensor,
        edge_type: Tensor,
        node_type: Tensor | None = None,
        level: Tensor | None = None,
        edge_attr: Tensor | None = None,
    ) -> Tensor:
        return self.model.forward_graph(x, edge_index, edge_type, node_type, level, edge_attr)[:, self.target]


def taken(scores: Orders, share: float) -> list[Tensor]:
    """For each image, which entries are among the first of that share, bool."""
    found = []
    for score in scores:
        chosen = torch.zeros(len(score), dtype=torch.bool)
        chosen[score.argsort(descending=True, stable=True)[: round(share * len(score))]] = True
        found.append(chosen)
    return found


@torch.no_grad()
def without_edges(model: ImageClassificationModel, batches: list[Batch], masks: list[Tensor]) -> Tensor:
    """Logits with messages multiplied by masks, one for each image."""
    out, rest = [], masks
    for batch in batches:
        mask = torch.cat(rest[: batch.num_graphs]).float()
        set_masks(model, mask, batch.edge_index, apply_sigmoid=False)
        out.append(model(batch))
        clear_masks(model)
        rest = rest[batch.num_graphs :]
    return torch.cat(out)


@torch.no_grad()
def with_pixels(model: ImageClassificationModel, images: Tensor, inks: Orders, masks: list[Tensor]) -> Tensor:
    """Logits of images of which only some pixels are left."""
    left = torch.zeros_like(images).flatten(1)
    for image, row, ink, mask in zip(images.flatten(1), left, inks, masks, strict=True):
        row[ink[mask]] = image[ink[mask]]
    return torch.cat([model(model.vision.batch(part)) for part in left.view_as(images).split(BATCH)])


def curves(logits: Callable[[list[Tensor]], Tensor], scores: Orders, classes: Tensor) -> tuple[Tensor, Tensor]:
    """Probability of the class, and whether it is predicted, ``[2, num_images, len(SHARES)]``: removed, then kept."""
    found = []
    for removed in (True, False):
        steps = [logits([~mask if removed else mask for mask in taken(scores, share)]) for share in SHARES]
        found.append(torch.stack(steps, dim=1))
    both = torch.stack(found)
    probability = both.softmax(-1).gather(-1, classes.view(1, -1, 1, 1).expand(2, -1, len(SHARES), 1)).squeeze(-1)
    return probability, both.argmax(-1) == classes[:, None]


def attributions(model: ImageClassificationModel, images: Tensor, inks: Orders) -> dict[str, tuple[Orders, Orders]]:
    """Of each method: scores of edges and of the pixels that are not background, image by image."""
    found: dict[str, tuple[Orders, Orders]] = {}
    for method in METHODS:
        explanations = [explain(model, image, method) for image in images]
        pixels = [e.pixels.flatten()[ink] for e, ink in zip(explanations, inks, strict=True)]
        found[method] = [e.edges for e in explanations], pixels
    edges, pixels = [], []
    for image, ink in zip(images, inks, strict=True):
        graph, copy = model.vision(image), frozen_copy(model)
        edge, feature = gradient(Logit(copy, int(copy(graph).argmax())), graph)
        edges.append(edge)
        pixels.append(on_pixels(feature, graph, image[None], model.vision).flatten()[ink])
    found["gradient of the logit"] = edges, pixels
    return found


def milliseconds(task: Callable[[], object], repeats: int = 11) -> float:
    """Median time of a task."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        task()
        times.append(1000 * (time.perf_counter() - start))
    return sorted(times)[repeats // 2]


def draw(model: ImageClassificationModel, image: Tensor, found: dict[str, list[Tensor]], path: Path) -> None:
    """Explanations of one digit, and below them the curves."""
    figure = Figure(figsize=(13, 6.8), layout="constrained")
    above, below = figure.subplots(2, 4)
    for method, ax in zip(METHODS, above, strict=False):
        explanation = explain(model, image, method)
        draw_explanation(explanation, image, ax=ax).set_title(f"{method}: why {as_label(explanation.label)}")
    second = int(model.predict(image[None]).similarities[0].argsort(descending=True)[1])
    draw_explanation(explain(model, image, target=second), image, ax=above[3])
    above[3].set_title(f"gradient: why, or why not, {as_label(model.classes[second])}")
    names = ("edges removed", "edges kept", "pixels removed", "pixels kept")
    for i, (name, ax) in enumerate(zip(names, below, strict=True)):
        for method, style in zip((*METHODS, "random"), ("-", "-", "-", "k--"), strict=True):
            curve = torch.stack([draw[i] for draw in found[method]]).mean((0, 1))
            ax.plot([100 * share for share in SHARES], curve, style, label=method)
        ax.set(xlabel=f"{name}, %", ylim=(0, 1.02), ylabel="probability of the predicted class" if i == 0 else None)
    below[0].legend(frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=90)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="folder of a trained model of grid graphs")
    parser.add_argument("--split", choices=["train", "test"], default="test")
    parser.add_argument("--digits", type=int, default=500)
    parser.add_argument("--draws", type=int, default=3, help="random orders for each digit (default: 3)")
    parser.add_argument("--picture", type=Path, help="PNG to write")
    arguments = parser.parse_args()
    model = ImageClassificationModel.from_pretrained(arguments.model)
    images = getattr(load_mnist(), arguments.split).images[: arguments.digits]
    batches = [model.vision.batch(part) for part in images.split(BATCH)]
    classes = model.predict(images).similarities.argmax(dim=1)
    inks = [image.flatten().nonzero().squeeze(1) for image in images]
    copy = frozen_copy(model)

    scores = {name: [both] for name, both in attributions(model, images, inks).items()}
    generator = torch.Generator().manual_seed(0)
    counts = [graph.num_edges for batch in batches for graph in batch.to_data_list()]
    scores["random"] = [
        (
            [torch.rand(count, generator=generator) for count in counts],
            [torch.rand(len(ink), generator=generator) for ink in inks],
        )
        for _ in range(arguments.draws)
    ]
    # Of each method and draw: [4, num_images, len(SHARES)], and whether edges removed or kept leave the prediction.
    found: dict[str, list[Tensor]] = {}
    same: dict[str, list[Tensor]] = {}
    for name, draws in scores.items():
        for edges, pixels in draws:
            by_edges, stays = curves(lambda masks: without_edges(copy, batches, masks), edges, classes)
            by_pixels, _ = curves(lambda masks: with_pixels(model, images, inks, masks), pixels, classes)
            found.setdefault(name, []).append(torch.cat([by_edges, by_pixels]))
            same.setdefault(name, []).append(stays)

    areas = {name: torch.trapezoid(torch.stack(each), torch.tensor(SHARES)) for name, each in found.items()}
    chance = areas["random"].mean(0)
    single = images[:1]
    once = milliseconds(lambda: model.predict(single))
    print(f"{len(images)} digits of the {arguments.split} set; a prediction takes {once:.1f} ms")
    print("| | edges removed ↓ | edges kept ↑ | pixels removed ↓ | pixels kept ↑ | fidelity+ ↑ | fidelity- ↓ | cost |")
    print("|---|---|---|---|---|---|---|---|")
    for name, area in areas.items():
        cells = []
        for i in range(4):
            cell = f"{area[:, i].mean():.3f} ± {area[:, i].std():.3f}"
            if name != "random":
                better = area[0, i] < chance[i] if i % 2 == 0 else area[0, i] > chance[i]
                cell += f" ({100 * better.float().mean():.0f} %)"
            cells.append(cell)
        changed = 1 - torch.stack(same[name]).float().mean(2)  # [draws, 2, shares]
        for value in (changed[:, 0, REMOVED], changed[:, 1, KEPT]):
            deviation = f" ± {value.std():.3f}" if len(value) > 1 else ""
            cells += [f"{value.mean():.3f}{deviation}"]
        cells += [f"{milliseconds(partial(explain, model, single[0], name)) / once:.1f}" if name in METHODS else ""]
        print(f"| {name} |", " | ".join(cells), "|", flush=True)
    if arguments.picture is not None:
        draw(model, images[EXAMPLE], found, arguments.picture)


if __name__ == "__main__":
    main()
