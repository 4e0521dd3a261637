"""Warnings after training: classes that are never recognised, templates of different classes that coincide."""

import warnings
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from grapheme_pyg.errors import TrainingWarning

# Cosines above this are of templates that single precision hardly tells apart.
COINCIDING = 1 - 1e-6
# Classes, or pairs of them, that a message names.
NAMED = 10
ROWS_AT_ONCE = 512


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
    num_classes = len(templates)
    # A bit for each pair: pairs of numbers, of templates that are all equal, would take gigabytes.
    shared = torch.zeros(num_classes, num_classes, dtype=torch.bool, device=templates.device)
    classes_at_once = max(1, ROWS_AT_ONCE // per_class)
    for start in range(0, num_classes, classes_at_once):
        rows = slice(start * per_class, (start + classes_at_once) * per_class)
        near = directions[rows] @ directions.t() > COINCIDING
        shared[start : start + classes_at_once] = near.view(-1, per_class, num_classes, per_class).any(dim=3).any(dim=1)
    return shared.triu_(diagonal=1).nonzero()


def warn_of_lost_classes(
    images: Tensor, recognised: Tensor, templates: Tensor, classes: Sequence[str], *, stacklevel: int
) -> None:
    """Warns of classes that the last validation never recognised, and of classes that share a template.

    Args:
        images: ``[num_classes]``, the validation images of each class.
        recognised: ``[num_classes]``, those of them that were classified rightly.
        templates: ``[num_classes, templates_per_class, channels]``, as training left them.
        classes: Their names.
        stacklevel: Whose line the warning names: 1 the caller's, 2 that of the caller's caller, and so on.
    """
    lost = ((images > 0) & (recognised == 0)).nonzero().flatten().tolist()
    if lost:
        named = _listed([f"{classes[i]!r} (of {int(images[i])})" for i in lost[:NAMED]], len(lost))
        message = f"validation: expected some images of each class to be recognised, got none of {named}"
        warnings.warn(message, TrainingWarning, stacklevel=stacklevel + 1)
    pairs = coinciding_classes(templates)
    if len(pairs):
        named = _listed([f"{classes[i]!r} and {classes[j]!r}" for i, j in pairs[:NAMED].tolist()], len(pairs))
        message = f"templates: expected those of different classes to differ, got the same for {named}"
        warnings.warn(message, TrainingWarning, stacklevel=stacklevel + 1)


def _listed(items: list[str], number: int) -> str:
    return ", ".join(items) + (f" and {number - len(items)} more" if number > len(items) else "")
