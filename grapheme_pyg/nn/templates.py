"""The update of class templates by momentum, without a gradient."""

import torch
import torch.nn.functional as F
from torch import Tensor


def move_templates(templates: Tensor, embedding: Tensor, labels: Tensor, momentum: float) -> Tensor:
    r"""Moves the nearest template of each embedding's own class towards it.

    A template that is nearest to n embeddings of its class, with normalised sum :math:`m`, becomes

    .. math:: t \leftarrow \frac{\beta^n t + (1 - \beta^n) m}{\lVert \cdot \rVert}

    so that a batch moves it as far as n single embeddings would (learning vector quantisation, Kohonen, 1990, with an
    exponential moving average as in Oord et al., "Neural Discrete Representation Learning", 2017). Templates of zeros
    are unset, and the first distinct embeddings of their class replace them.

    Args:
        templates: ``[num_classes, templates_per_class, channels]``, of length 1 or unset.
        embedding: ``[batch_size, channels]``.
        labels: ``[batch_size]`` int64.
        momentum: :math:`\beta` in [0, 1).

    Returns:
        The new templates, in the same shape.
    """
    num_classes, per_class, channels = templates.shape
    embedding = F.normalize(embedding.to(templates.dtype), dim=-1)
    templates = _fill(templates.clone(), embedding, labels)
    nearest = torch.einsum("bc,bkc->bk", embedding, templates[labels]).argmax(dim=1)
    slot = labels * per_class + nearest
    # The last column counts.
    counted = F.pad(embedding, (0, 1), value=1)
    sums = embedding.new_zeros(num_classes * per_class, channels + 1).index_add_(0, slot, counted)
    sums, counts = sums.split([channels, 1], dim=1)
    keep = momentum**counts
    moved = F.normalize(keep * templates.flatten(0, 1) + (1 - keep) * F.normalize(sums, dim=-1), dim=-1)
    # Other templates must stay the same to the last bit.
    return torch.where(counts > 0, moved, templates.flatten(0, 1)).view_as(templates)


def _fill(templates: Tensor, embedding: Tensor, labels: Tensor) -> Tensor:
    """Sets the unset templates of each class to its first distinct embeddings."""
    unset = (templates == 0).all(dim=-1)
    for label in unset.any(dim=1).nonzero().flatten().tolist():
        places = unset[label].nonzero().flatten().tolist()
        for candidate in embedding[labels == label]:
            if not places:
                break
            if not (templates[label] == candidate).all(dim=-1).any():
                templates[label, places.pop(0)] = candidate
    return templates
