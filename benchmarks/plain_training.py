"""What several benchmarks share: MNIST's training and validation images, a plain training loop, results."""

import json
import statistics
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from grapheme_pyg import ImageClassificationModel
from grapheme_pyg.datasets import Split, load_idx_data
from grapheme_pyg.datasets.labelled_images import ImageDataset
from grapheme_pyg.datasets.samplers import EpochSampler

VALIDATION = 5000
RESULTS = Path(__file__).parent / "results"
LR, WEIGHT_DECAY, CLIP = 8e-3, 0.05, 1.0


def split_mnist() -> tuple[Split, Split]:
    """MNIST's training images without the last 5,000, and these."""
    images, labels = load_idx_data("mnist").train
    return Split(images[:-VALIDATION], labels[:-VALIDATION]), Split(images[-VALIDATION:], labels[-VALIDATION:])


def part(split: Split, first: int, last: int) -> Split:
    """Images ``first`` to ``last`` and their labels."""
    return Split(split.images[first:last], split.labels[first:last])


def batches(digits: ImageDataset, batch_size: int, *, seed: int, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
    """An epoch of images and labels, ordered and augmented as in the library's training."""
    sampler = EpochSampler(digits, seed)
    sampler.set_epoch(epoch)
    for rows in torch.tensor(list(sampler)).split(batch_size):
        yield digits[rows]


def train(
    model: ImageClassificationModel,
    digits: ImageDataset,
    *,
    epochs: int,
    batch_size: int,
    seed: int,
    lr: float = LR,
    edge_share: float = 1.0,
    after_step: Callable[[float], None] | None = None,
) -> None:
    """A plain loop: AdamW, one cycle of the learning rate, clipped gradients.

    Args:
        model: Trained in place, as far as its parameters require gradients.
        digits: Images and labels.
        epochs: Passes over them.
        batch_size: Images for one step.
        seed: Of order and augmentation.
        lr: Peak of the cycle.
        edge_share: Share of the optimiser's step by which edge-type weights move. It scales their learning
            rate: a scaled gradient would leave AdamW's step as it is.
        after_step: Called after each step with the learning rate, as a share of its peak.
    """
    of_edges = {id(weight) for weight in model.dag.weight.values()}
    trained = [p for p in model.parameters() if p.requires_grad]
    edges = [p for p in trained if id(p) in of_edges]
    matrices = [p for p in trained if p.dim() >= 2 and id(p) not in of_edges]
    vectors = [p for p in trained if p.dim() < 2]
    groups = [(edges, WEIGHT_DECAY, edge_share), (matrices, WEIGHT_DECAY, 1.0), (vectors, 0.0, 1.0)]
    peaks = [lr * share for parameters, _, share in groups if parameters]
    optimizer = torch.optim.AdamW(
        [{"params": parameters, "weight_decay": decay} for parameters, decay, _ in groups if parameters]
    )
    # A schedule of so few steps has no rise and fall.
    total_steps = max(6, epochs * -(-len(digits) // batch_size))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, peaks, total_steps=total_steps, pct_start=0.2)
    model.train()
    for epoch in range(epochs):
        for images, labels in batches(digits, batch_size, seed=seed, epoch=epoch):
            batch = model.vision.batch(images, labels)
            # Every digit weighs the same, in a smaller last batch too.
            loss = F.cross_entropy(model(batch), batch.y, reduction="sum") / batch_size
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(trained, CLIP)
            optimizer.step()
            if after_step is not None:
                after_step(optimizer.param_groups[-1]["lr"] / lr)
            schedule.step()
    model.eval()


@torch.no_grad()
def mean_loss_and_accuracy(model: ImageClassificationModel, split: Split, batch_size: int = 500) -> tuple[float, float]:
    """Cross-entropy, and the share of images whose class a model finds, in evaluation mode."""
    model.eval()
    loss, hits = 0.0, 0
    for images, labels in zip(split.images.split(batch_size), split.labels.split(batch_size), strict=True):
        batch = model.vision.batch(images, labels)
        logits = model(batch)
        loss += float(F.cross_entropy(logits, batch.y, reduction="sum"))
        hits += int((logits.argmax(dim=1) == batch.y).sum())
    return loss / len(split.labels), hits / len(split.labels)


def spread(values: Sequence[float]) -> str:
    """Mean and, of several values, standard deviation, in per cent."""
    mean = f"{100 * statistics.mean(values):.2f}"
    return f"{mean} ± {100 * statistics.stdev(values):.2f} %" if len(values) > 1 else f"{mean} %"


def write_results(path: Path, results: dict[str, Any]) -> None:
    """Writes JSON, with what it was made by."""
    path.parent.mkdir(parents=True, exist_ok=True)
    made_by = {"torch": torch.__version__, "threads": torch.get_num_threads()}
    path.write_text(json.dumps(results | made_by, indent=2) + "\n")
