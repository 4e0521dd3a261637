"""Losses on similarities with class templates that need no softmax."""

import torch
import torch.nn.functional as F
from torch import Tensor

# Steepness of the loss: graphs that are this clearly right or wrong hardly pull any more, or fully.
STEEPNESS = 10.0


def structural_losses(similarities: Tensor, labels: Tensor) -> Tensor:
    r"""How much nearer a graph is to the templates of other classes than to those of its own.

    With the distance :math:`d_c = 1 - s_c` to the nearest template of class c,

    .. math:: \ell = \log (1 + e^{10 \mu}), \qquad \mu = \frac{d_y - \min_{c \ne y} d_c}{d_y + \min_{c \ne y} d_c}

    with the relative distance difference :math:`\mu` in [−1, 1] of generalised learning vector quantisation (Sato and
    Yamada, "Generalized Learning Vector Quantization", 1996): negative if and only if the graph is classified rightly.
    No softmax: only the nearest template of the own class and the nearest of all others are looked at.

    Args:
        similarities: ``[batch_size, num_classes]``, cosines in [−1, 1] with the nearest template of each class.
        labels: ``[batch_size]`` int64.

    Returns:
        ``[batch_size]``, positive.
    """
    distances = 1 - similarities
    own = distances.gather(1, labels[:, None]).squeeze(1)
    others = distances.scatter(1, labels[:, None], torch.inf).amin(dim=1)
    # Both distances are 0 only where a template of another class is a copy of one's own.
    return F.softplus(STEEPNESS * (own - others) / (own + others).clamp_min(1e-12))
