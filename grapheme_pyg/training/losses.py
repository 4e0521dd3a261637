"""Losses on similarities with class templates."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.data import Batch

from grapheme_pyg.labels import canonical
from grapheme_pyg.model import ImageClassificationModel
from grapheme_pyg.nn.plan import Plan
from grapheme_pyg.training.settings import SuitedSettings, TrainingSettings

# Steepness of the structural loss, with which clearly right graphs have hardly any gradient and wrong ones nearly all.
STEEPNESS = 10.0


def structural_losses(similarities: Tensor, labels: Tensor) -> Tensor:
    r"""Compares each graph's distance to the templates of its class with that to the templates of other classes.

    With the distance :math:`d_c = 1 - s_c` to the nearest template of class c,

    .. math:: \ell = \log (1 + e^{10 \mu}), \qquad \mu = \frac{d_y - \min_{c \ne y} d_c}{d_y + \min_{c \ne y} d_c}

    with the relative distance difference :math:`\mu` in [−1, 1] of generalised learning vector quantisation (Sato and
    Yamada, "Generalized Learning Vector Quantization", 1996), which is negative if and only if the graph is classified
    correctly. There is no softmax: only the nearest template of the graph's class and the nearest other one matter.

    Args:
        similarities: ``[batch_size, num_classes]``, cosines in [−1, 1] with the nearest template of each class.
        labels: ``[batch_size]`` int64.

    Returns:
        ``[batch_size]``, positive.
    """
    distances = 1 - similarities
    own = distances.gather(1, labels[:, None]).squeeze(1)
    others = distances.scatter(1, labels[:, None], torch.inf).amin(dim=1)
    # Both distances are 0 only if two classes have the same template.
    return F.softplus(STEEPNESS * (own - others) / (own + others).clamp_min(1e-12))


class BatchLosses(nn.Module):
    """Computes a model's losses on a batch of graphs.

    Args:
        model: The model.
        settings: Which loss to compute, and the label smoothing in training.
        class_weights: ``[num_classes]``, factors for the losses of the classes in training; None for none.

    Shapes:
        - **output**: losses ``[batch_size]``, similarities ``[batch_size, num_classes]``, and the pooled states without
          gradient ``[batch_size, pooled_channels]``
    """

    def __init__(self, model: ImageClassificationModel, settings: SuitedSettings, class_weights: Tensor | None) -> None:
        super().__init__()
        self.model, self.settings, self.class_weights = model, settings, class_weights

    def forward(self, batch: Batch, plan: Plan) -> tuple[Tensor, Tensor, Tensor]:
        """Computes losses; see the class."""
        classifier = self.model.classifier
        pooled = self.model.pool(batch, plan)
        similarities = classifier.similarities(pooled)
        if self.settings.loss == "structural":
            losses = structural_losses(similarities, batch.y)
        else:
            smoothing = self.settings.label_smoothing if self.model.training else 0.0
            logits = classifier.temperature * similarities
            losses = F.cross_entropy(logits, batch.y, label_smoothing=smoothing, reduction="none")
        if self.model.training and self.class_weights is not None:
            losses = losses * self.class_weights[batch.y]
        return losses, similarities, pooled.detach()


def weights_of_classes(settings: TrainingSettings, labels: Tensor, classes: Sequence[str]) -> Tensor | None:
    """Returns factors for the losses of the classes.

    Args:
        settings: Settings with ``class_weights``. With ``"auto"``, all classes that occur have the same total weight,
            and the mean over the images is 1.
        labels: ``[num_images]`` int64, the labels of the training images.
        classes: Names of the classes.

    Returns:
        ``[num_classes]`` float32, or None if there are no class weights.

    Raises:
        ValueError: ``class_weights`` has a name that is no class.
    """
    chosen = settings.class_weights
    if chosen is None:
        return None
    if chosen == "auto":
        counts = torch.bincount(labels, minlength=len(classes)).float()
        return len(labels) / (counts.count_nonzero() * counts.clamp(min=1))
    assert isinstance(chosen, dict), "settings: expected to have been checked"
    place = {canonical(name): number for number, name in enumerate(classes)}
    weights = torch.ones(len(classes))
    for name, weight in chosen.items():
        if canonical(name) not in place:
            raise ValueError(f"class_weights: expected names of classes, some of {list(classes)}, got {name!r}")
        weights[place[canonical(name)]] = weight
    return weights
