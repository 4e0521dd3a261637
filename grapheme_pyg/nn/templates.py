"""Class templates that follow the embeddings of their class, without a gradient."""

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor


def move_templates(
    templates: Tensor,
    embedding: Tensor,
    labels: Tensor,
    momentum: float,
    *,
    position: Tensor | None = None,
    process_group: dist.ProcessGroup | None = None,
) -> Tensor:
    r"""Moves the nearest template of each embedding's own class towards it.

    A template that is nearest to n embeddings of its class, with normalised sum :math:`m`, becomes

    .. math:: t \leftarrow \frac{\beta^n t + (1 - \beta^n) m}{\lVert \cdot \rVert}

    so that a batch moves it as far as its samples one by one would (learning vector quantisation, Kohonen, 1990, with
    an exponential moving average as in Oord et al., "Neural Discrete Representation Learning", 2017). Templates of
    zeros are unset: the first embeddings of a class that differ fill them.

    Args:
        templates: ``[num_classes, templates_per_class, channels]``, of length 1 or unset.
        embedding: ``[batch_size, channels]``.
        labels: ``[batch_size]`` int64.
        momentum: :math:`\beta` in [0, 1).
        position: ``[batch_size]`` int64: where embeddings stand in the batch that the processes share; each place is
            taken once. Needed with ``process_group``.
        process_group: Processes of which each has some embeddings of a batch. All of them get the templates that one
            would get from the whole batch.

    Returns:
        The new templates, of the same shape.
    """
    num_classes, per_class, channels = templates.shape
    embedding = F.normalize(embedding.to(templates.dtype), dim=-1)
    first = embedding, labels
    if process_group is not None and bool((templates == 0).all(dim=-1).any()):
        assert position is not None
        first = _in_order_of_all(embedding, labels, position, process_group)
    templates = _fill(templates.clone(), *first)
    nearest = torch.einsum("bc,bkc->bk", embedding, templates[labels]).argmax(dim=1)
    slot = labels * per_class + nearest
    # With a column of ones, for the counts.
    counted = F.pad(embedding, (0, 1), value=1)
    sums = embedding.new_zeros(num_classes * per_class, channels + 1).index_add_(0, slot, counted)
    if process_group is not None:
        dist.all_reduce(sums, group=process_group)
    sums, counts = sums.split([channels, 1], dim=1)
    keep = momentum**counts
    moved = F.normalize(keep * templates.flatten(0, 1) + (1 - keep) * F.normalize(sums, dim=-1), dim=-1)
    # Templates that nothing was nearest to keep their last bit.
    return torch.where(counts > 0, moved, templates.flatten(0, 1)).view_as(templates)


def _in_order_of_all(
    embedding: Tensor, labels: Tensor, position: Tensor, process_group: dist.ProcessGroup
) -> tuple[Tensor, Tensor]:
    """The embeddings and labels of all processes, by position."""
    size = position.max() + 1 if position.numel() > 0 else position.new_zeros(())
    dist.all_reduce(size, dist.ReduceOp.MAX, group=process_group)
    # Each has a place of its own: adding up zeros changes nothing.
    embeddings = embedding.new_zeros(int(size), embedding.shape[1]).index_copy_(0, position, embedding)
    all_labels = labels.new_zeros(int(size)).index_copy_(0, position, labels)
    for values in (embeddings, all_labels):
        dist.all_reduce(values, group=process_group)
    return embeddings, all_labels


def _fill(templates: Tensor, embedding: Tensor, labels: Tensor) -> Tensor:
    """Puts the first distinct embeddings of a class into its unset templates."""
    unset = (templates == 0).all(dim=-1)
    for label in unset.any(dim=1).nonzero().flatten().tolist():
        places = unset[label].nonzero().flatten().tolist()
        for candidate in embedding[labels == label]:
            if not places:
                break
            if not (templates[label] == candidate).all(dim=-1).any():
                templates[label, places.pop(0)] = candidate
    return templates
