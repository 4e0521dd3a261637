"""What looks wrong after training that came to its end: classes that are never recognised, templates that coincide."""

import warnings
from collections.abc import Sequence
from typing import Any

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from pytorch_lightning.callbacks import Callback
from torch import Tensor

from grapheme_pyg.errors import TrainingWarning

# Cosines above this are of templates that single precision hardly tells apart.
COINCIDING = 1 - 1e-6
# Classes, or pairs of them, that a message names.
NAMED = 10
ROWS_AT_ONCE = 512


class ClassCounts(Callback):
    """Counts the validation images of each class, and those that are recognised, in each validation anew.

    Args:
        num_classes: Number of classes.

    Attributes:
        images: ``[num_classes]`` int64, of the last validation; zeros before the first.
        recognised: ``[num_classes]`` int64, those of which the predicted class is the true one.
    """

    def __init__(self, num_classes: int) -> None:
        self.images = torch.zeros(num_classes, dtype=torch.int64)
        self.recognised = torch.zeros(num_classes, dtype=torch.int64)

    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Forgets the validation before."""
        device, num_classes = pl_module.device, self.images.numel()
        self.images = torch.zeros(num_classes, dtype=torch.int64, device=device)
        self.recognised = torch.zeros_like(self.images)

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Counts a batch; ``outputs`` are the predicted classes, ``[batch_size]``."""
        num_classes, labels = self.images.numel(), batch[0].y
        self.images += torch.bincount(labels, minlength=num_classes)
        self.recognised += torch.bincount(labels[outputs == labels], minlength=num_classes)

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Adds up what several processes have counted."""
        self.images, self.recognised = (
            trainer.strategy.reduce(counts, reduce_op="sum").cpu() for counts in (self.images, self.recognised)
        )


def coinciding_classes(templates: Tensor) -> Tensor:
    """Pairs of different classes that have a template in common, by direction: an image near it is of both.

    Equal templates of one class are harmless, and unset ones, which are zero, coincide with none.

    Args:
        templates: ``[num_classes, templates_per_class, channels]``.

    Returns:
        ``[num_pairs, 2]`` int64, ascending, each pair once, the smaller class first.
    """
    per_class = templates.shape[1]
    directions = F.normalize(templates.detach().flatten(0, 1).double(), dim=-1)
    found = []
    for start in range(0, len(directions), ROWS_AT_ONCE):
        near = (directions[start : start + ROWS_AT_ONCE] @ directions.t() > COINCIDING).nonzero()
        near[:, 0] += start
        found.append(near // per_class)
    pairs = torch.cat(found)
    distinct: Tensor = pairs[pairs[:, 0] < pairs[:, 1]].unique(dim=0)
    return distinct


def warn_of_lost_classes(counts: ClassCounts, templates: Tensor, classes: Sequence[str], *, stacklevel: int) -> None:
    """Warns of classes that the last validation never recognised, and of classes that share a template.

    Args:
        counts: Of the validations.
        templates: ``[num_classes, templates_per_class, channels]``, as training left them.
        classes: Their names.
        stacklevel: Whose line the warning names: 1 the caller's, 2 that of the caller's caller, and so on.
    """
    lost = ((counts.images > 0) & (counts.recognised == 0)).nonzero().flatten().tolist()
    if lost:
        named = _listed([f"{classes[i]!r} (of {int(counts.images[i])})" for i in lost])
        message = f"validation: expected some images of each class to be recognised, got none of {named}"
        warnings.warn(message, TrainingWarning, stacklevel=stacklevel + 1)
    pairs = coinciding_classes(templates).tolist()
    if pairs:
        named = _listed([f"{classes[i]!r} and {classes[j]!r}" for i, j in pairs])
        message = f"templates: expected those of different classes to differ, got the same for {named}"
        warnings.warn(message, TrainingWarning, stacklevel=stacklevel + 1)


def _listed(items: list[str]) -> str:
    more = len(items) - NAMED
    return ", ".join(items[:NAMED]) + (f" and {more} more" if more > 0 else "")
