"""Warnings after training: classes that are never recognised, templates of different classes that coincide."""

import warnings
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from grapheme_pyg.errors import TrainingWarning

# Templates whose cosine is above this are hardly distinguishable in single precision.
COINCIDING = 1 - 1e-6
# Most classes, or pairs of classes, that a message names.
NAMED = 10
ROWS_AT_ONCE = 512


def coinciding_classes(templates: Tensor) -> Tensor:
    """Finds pairs of classes that have a template of the same direction in common.

    Equal templates of one class are harmless, and unset templates, which are zero, coincide with none.

    Args:
        templates: ``[num_classes, templates_per_class, channels]``.

    Returns:
        ``[num_pairs, 2]`` int64, the pairs in ascending order, each once and with the smaller class first.
    """
    per_class = templates.shape[1]
    directions = F.normalize(templates.detach().flatten(0, 1).double(), dim=-1)
    num_classes = len(templates)
    # A matrix of truth values; if all templates were equal, a list of pairs would take gigabytes.
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
        images: ``[num_classes]``, the number of validation images of each class.
        recognised: ``[num_classes]``, the number of those that were classified correctly.
        templates: ``[num_classes, templates_per_class, channels]``, after training.
        classes: The names of the classes.
        stacklevel: Whose line the warning names: 1 for the caller's, 2 for that of the caller's caller, and so on.
    """
    lost = ((images > 0) & (recognised == 0)).nonzero().flatten().tolist()
    pairs = coinciding_classes(templates)
    for message, number, named in (
        (
            "validation: expected some images of each class to be recognised, got none of",
            len(lost),
            [f"{classes[i]!r} (of {int(images[i])})" for i in lost[:NAMED]],
        ),
        (
            "templates: expected those of different classes to differ, got the same for",
            len(pairs),
            [f"{classes[i]!r} and {classes[j]!r}" for i, j in pairs[:NAMED].tolist()],
        ),
    ):
        if named:
            more = f" and {number - NAMED} more" if number > NAMED else ""
            warnings.warn(f"{message} {', '.join(named)}{more}", TrainingWarning, stacklevel=stacklevel + 1)
