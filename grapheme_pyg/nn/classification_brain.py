"""ClassificationBrain: node states → an embedding of each graph → similarities with class templates."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.nn import global_max_pool, global_mean_pool


class ClassificationBrain(nn.Module):
    r"""Classifies graphs by their nearest class template.

    The states of a graph's chosen nodes are pooled by mean and maximum and projected to an embedding
    :math:`z`. Each class has several templates :math:`t`; its similarity is the cosine with the nearest one,

    .. math:: s_c = \max_k \cos(z, t_{ck}), \qquad \mathrm{logit}_c = \exp(\lambda) \, s_c

    with a learned temperature, as in prototypical and cosine classifiers (Snell et al., "Prototypical Networks
    for Few-shot Learning", 2017; Gidaris and Komodakis, "Dynamic Few-Shot Visual Learning without
    Forgetting", 2018).

    Args:
        in_channels: Width of the states.
        classes: Number of classes, or their names.
        embedding_channels: Width of the embedding.
        templates_per_class: Templates of each class.

    Shapes:
        - **states**: ``[num_chosen, in_channels]``
        - **index**: ``[num_chosen]`` int64, ascending, the graph of each chosen node
        - **batch_size**: number of graphs
        - **output**: logits ``[batch_size, num_classes]``

    Raises:
        ValueError: There is no class, one name occurs twice, or a number is not positive.
    """

    def __init__(
        self,
        in_channels: int,
        classes: int | Sequence[str],
        *,
        embedding_channels: int = 64,
        templates_per_class: int = 4,
    ) -> None:
        super().__init__()
        if isinstance(classes, str) or not isinstance(classes, int | Sequence):
            raise ValueError(f"classes: expected a positive integer or distinct names, got {classes!r}")
        names = [str(i) for i in range(classes)] if isinstance(classes, int) else [str(name) for name in classes]
        if not names or len(set(names)) < len(names):
            raise ValueError(f"classes: expected a positive integer or distinct names, got {classes!r}")
        for name, value in (("embedding_channels", embedding_channels), ("templates_per_class", templates_per_class)):
            if value < 1:
                raise ValueError(f"{name}: expected a positive integer, got {value}")
        self.classes = names
        self.project = nn.Linear(2 * in_channels, embedding_channels, bias=False)
        self.templates = nn.Parameter(torch.empty(len(names), templates_per_class, embedding_channels))
        # Starts soft enough for gradients to reach every class; training sharpens it.
        self.log_temperature = nn.Parameter(torch.tensor(math.log(10.0)))
        nn.init.normal_(self.templates)

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.classes)

    def embed(self, states: Tensor, index: Tensor, batch_size: int) -> Tensor:
        """Embeddings of graphs, ``[batch_size, embedding_channels]``."""
        pooled = [pool(states, index, batch_size) for pool in (global_mean_pool, global_max_pool)]
        embedding: Tensor = self.project(torch.cat(pooled, dim=-1))
        return embedding

    def similarities(self, embedding: Tensor) -> Tensor:
        """Cosines with every template, ``[batch_size, num_classes, templates_per_class]`` in [−1, 1].

        Never in half precision: bfloat16 tells apart 128 cosines between 0.5 and 1.
        """
        with torch.autocast(embedding.device.type, enabled=False):
            templates = F.normalize(self.templates, dim=-1)
            directions = F.normalize(embedding.to(templates.dtype), dim=-1)
            return (directions @ templates.flatten(0, 1).t()).view(-1, *templates.shape[:2])

    def logits(self, embedding: Tensor) -> Tensor:
        """Tempered similarities with the nearest template of each class, ``[batch_size, num_classes]``."""
        return self.log_temperature.exp() * self.similarities(embedding).amax(dim=-1)

    def confidences(self, logits: Tensor) -> Tensor:
        """Probabilities of the classes, ``[batch_size, num_classes]``."""
        return logits.softmax(dim=-1)

    def forward(self, states: Tensor, index: Tensor, batch_size: int) -> Tensor:
        """Logits; see the class for arguments and shapes."""
        return self.logits(self.embed(states, index, batch_size))
