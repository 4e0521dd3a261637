"""ClassificationBrain turns node states into an embedding of each graph and its similarities with class templates."""

import math
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from grapheme_pyg.checks import as_float, as_int
from grapheme_pyg.labels import canonical, check_name, to_names
from grapheme_pyg.nn.graph_checks import check_device
from grapheme_pyg.nn.memory import UNFAMILIAR, Memory
from grapheme_pyg.nn.plan import Chosen, pad_channels
from grapheme_pyg.nn.templates import move_templates
from grapheme_pyg.ops import mean_max_pool

TEMPLATE_UPDATES = ("gradient", "momentum")
# Temperatures are in e^±10, which half precision can represent, too.
MOST_LOG_TEMPERATURE = 10.0


class ClassificationBrain(nn.Module):
    r"""Classifies graphs by their nearest class template.

    The states of a graph's chosen nodes are pooled by mean and maximum, separately for each kind of node, and projected
    to an embedding :math:`z`. Each class has several templates :math:`t`; its similarity is the cosine with the nearest
    one,

    .. math:: s_c = \max_k \cos(z, t_{ck}), \qquad \mathrm{logit}_c = \exp(\lambda) \, s_c

    with a learned temperature, -10 ≤ λ ≤ 10, as in prototypical and cosine classifiers (Snell et al., "Prototypical
    Networks for Few-shot Learning", 2017; Gidaris and Komodakis, "Dynamic Few-Shot Visual Learning without
    Forgetting", 2018).

    Templates learn by gradient, like any weight; or by momentum: after each optimiser step :meth:`update_templates`
    moves the nearest template of the right class towards each embedding. Before the first step, such templates are
    zero, and so are the similarities with them.

    Args:
        in_channels: Width of the states: one number, or one for each kind of chosen nodes.
        classes: Number of classes, or their names, as in :func:`grapheme_pyg.labels.to_names`; an empty list for a
            brain that is only taught.
        embedding_channels: Width of the embedding.
        templates_per_class: Number of templates for each class.
        template_update: ``"gradient"`` or ``"momentum"``.
        dropout: Share of the pooled states that training sets to zero, in [0, 1).
        template_momentum: Share of a template that remains when one embedding moves it, in [0, 1).

    Shapes:
        - **states**: for each kind of nodes, ``[num_rows, in_channels]``
        - **chosen**: for each kind of nodes, the rows of each graph; see :meth:`grapheme_pyg.nn.plan.Chosen.of`
        - **output**: logits ``[batch_size, num_classes]``

    Raises:
        ValueError: A name occurs twice or has control characters; or an argument is out of range.
    """

    def __init__(
        self,
        in_channels: int | Sequence[int],
        classes: Any,
        *,
        embedding_channels: int = 64,
        templates_per_class: int = 4,
        template_update: str = "gradient",
        dropout: float = 0.0,
        template_momentum: float = 0.99,
    ) -> None:
        super().__init__()
        names = [] if isinstance(classes, list) and not classes else to_names(classes)
        widths = in_channels if isinstance(in_channels, Sequence) else [in_channels]
        self.in_channels = [as_int("in_channels", width, 1) for width in widths or [0]]
        embedding_channels = as_int("embedding_channels", embedding_channels, 1)
        templates_per_class = as_int("templates_per_class", templates_per_class, 1)
        if template_update not in TEMPLATE_UPDATES:
            raise ValueError(f"template_update: expected one of {TEMPLATE_UPDATES}, got {template_update!r}")
        self.dropout, self.template_momentum = (
            as_float(name, share, lambda value: 0 <= value < 1, "a number in [0, 1)")
            for name, share in (("dropout", dropout), ("template_momentum", template_momentum))
        )
        self.classes = names
        self.template_update = template_update
        self.project = nn.Linear(self.pooled_channels, embedding_channels, bias=False)
        # A parameter in both cases, because distributed training overwrites buffers with those of one process.
        by_gradient = template_update == "gradient"
        templates = torch.zeros(len(names), templates_per_class, embedding_channels)
        self.templates = nn.Parameter(templates, requires_grad=by_gradient)
        self.memory: Memory | None = None
        # In the order of the memory's classes; classes with templates can be among them.
        self.taught: list[str] = []
        # Low at first, so that gradients reach every class.
        self.log_temperature = nn.Parameter(torch.tensor(math.log(10.0)))
        if by_gradient:
            nn.init.normal_(self.templates)

    @property
    def num_classes(self) -> int:
        """Number of classes, including added ones."""
        return len(self.classes)

    @property
    def pooled_channels(self) -> int:
        """Width of pooled states: a mean and a maximum for each channel of each kind of nodes."""
        return 2 * sum(self.in_channels)

    def pool(self, states: Sequence[Tensor], chosen: Sequence[Chosen]) -> Tensor:
        """Pools states by mean and maximum, ``[batch_size, pooled_channels]``; 0 for a graph without such nodes."""
        if states:  # the operator refuses several devices
            check_device("states", states[0], self)
        # States of a batch that lacks the widest nodes are narrower.
        parts = [
            mean_max_pool(pad_channels(rows, width), some.rows, some.first)
            for width, rows, some in zip(self.in_channels, states, chosen, strict=True)
        ]
        return torch.cat(parts, dim=-1)

    def embed(self, pooled: Tensor) -> Tensor:
        """Projects pooled states to embeddings, ``[batch_size, embedding_channels]``."""
        if self.training and self.dropout > 0:
            # F.dropout's random numbers take three times as long on a CPU.
            pooled = pooled * torch.rand_like(pooled).ge_(self.dropout).div_(1 - self.dropout)
        # Pooled states are in single precision even if the weights are in half precision.
        embedding: Tensor = self.project(pooled.to(self.project.weight.dtype))
        return embedding

    def template_similarities(self, embedding: Tensor) -> Tensor:
        """Returns the cosines with all templates, ``[batch_size, num_template_classes, templates_per_class]``.

        They are never in half precision, as bfloat16 has only 128 numbers between 0.5 and 1.
        """
        device = embedding.device.type
        # Exported programs have no autocast.
        with torch.autocast(device, enabled=False) if torch.is_autocast_enabled(device) else nullcontext():
            templates = self.templates.to(torch.promote_types(self.templates.dtype, torch.float32))
            templates = F.normalize(templates, dim=-1)
            directions = F.normalize(embedding.to(templates.dtype), dim=-1)
            return (directions @ templates.flatten(0, 1).t()).view(directions.shape[0], *templates.shape[:2])

    def similarities(self, pooled: Tensor, remembered: Tensor | None = None) -> Tensor:
        """Returns the similarity with each class, ``[batch_size, num_classes]``.

        For a class with templates it is the cosine with the nearest one. For a taught class it is the largest of these
        cosines plus the class's claim, :meth:`grapheme_pyg.nn.memory.Memory.claims`; or, if no class has templates,
        :meth:`grapheme_pyg.nn.memory.Memory.likeness`.

        Args:
            pooled: ``[batch_size, pooled_channels]``.
            remembered: Their :meth:`grapheme_pyg.nn.memory.Memory.similarities`, if already computed.
        """
        similarities = self.template_similarities(self.embed(pooled)).amax(dim=-1)
        if self.memory is None or not self.taught:
            return similarities
        remembered = self.memory.similarities(pooled) if remembered is None else remembered
        if self.templates.shape[0] == 0:
            return self.memory.likeness(pooled, remembered).to(similarities.dtype)
        claims = self.memory.claims(pooled, remembered).to(similarities.dtype)
        found = similarities.amax(dim=1, keepdim=True) + claims
        places = self._places()
        new = [number for number, place in enumerate(places) if place is None]
        for number, place in enumerate(places):
            if place is not None:
                better = torch.maximum(similarities[:, place], found[:, number])
                similarities = similarities.index_copy(1, torch.tensor([place], device=better.device), better[:, None])
        return torch.cat([similarities, found[:, new]], dim=1)

    def _places(self) -> list[int | None]:
        """Returns, for each taught class, its number among the classes with templates, or None."""
        with_templates = self.classes[: self.templates.shape[0]]
        return [self._number(name, with_templates) for name in self.taught]

    def logits(self, pooled: Tensor) -> Tensor:
        """Returns the similarities times the temperature, ``[batch_size, num_classes]``."""
        return self.temperature * self.similarities(pooled)

    @property
    def temperature(self) -> Tensor:
        """The learned factor of similarities, positive and finite."""
        return self.log_temperature.clamp(-MOST_LOG_TEMPERATURE, MOST_LOG_TEMPERATURE).exp()

    @torch.no_grad()
    def update_templates(self, embedding: Tensor, labels: Tensor) -> None:
        """Moves templates towards the embeddings of their class; see :func:`grapheme_pyg.nn.templates.move_templates`.

        Args:
            embedding: ``[batch_size, embedding_channels]``.
            labels: ``[batch_size]`` int64.
        """
        self.templates.copy_(move_templates(self.templates, embedding, labels, self.template_momentum))

    @torch.no_grad()
    def add_class(self, name: str, pooled: Tensor) -> None:
        """Teaches a new or a known class from examples, without a gradient step.

        Args:
            name: Name of the class.
            pooled: Pooled states of the examples, ``[num_examples, pooled_channels]``, or of each example and copies
                of it, ``[num_examples, num_copies, pooled_channels]``.

        Raises:
            ValueError: The name has control characters, or there is no memory.
        """
        name = str(name)
        check_name("name", name)
        number = self._number(name, self.taught)
        self.require_memory().add(pooled, number)
        if number is None:
            known = self._number(name, self.classes)
            self.taught = [*self.taught, name if known is None else self.classes[known]]
            if known is None:
                self.classes = [*self.classes, name]

    def require_memory(self) -> Memory:
        """Returns the memory.

        Raises:
            ValueError: There is none.
        """
        if self.memory is None:
            raise ValueError("memory: expected one, as fit leaves it, got none; call remember first")
        return self.memory

    @torch.no_grad()
    def remove_class(self, name: str) -> None:
        """Forgets the examples of a taught class, and the class itself if it has no templates.

        Raises:
            ValueError: The class was not taught.
        """
        number = self._number(name, self.taught)
        if number is None or self.memory is None:
            raise ValueError(f"name: expected a class that was taught, one of {self.taught}, got {name!r}")
        self.memory.remove(number)
        place = self._number(name, self.classes)
        if place is not None and place >= self.templates.shape[0]:
            self.classes = self.classes[:place] + self.classes[place + 1 :]
        self.taught = self.taught[:number] + self.taught[number + 1 :]

    def rename_class(self, name: str, new: str) -> None:
        """Renames a class.

        Raises:
            ValueError: There is no such class, or the new name is taken or has control characters.
        """
        place = self._number(name, self.classes)
        if place is None:
            raise ValueError(f"name: expected one of {self.classes}, got {name!r}")
        new = str(new)
        check_name("new", new)
        if self._number(new, self.classes) not in (None, place):
            raise ValueError(f"new: expected a name that no class has yet, got {new!r}")
        number = self._number(name, self.taught)
        self.classes = [*self.classes[:place], new, *self.classes[place + 1 :]]
        if number is not None:
            self.taught = [*self.taught[:number], new, *self.taught[number + 1 :]]

    @torch.no_grad()
    def looks_like(self, pooled: Tensor) -> str | None:
        """Returns the class to which more than half of some images belong, counting only familiar ones; else None."""
        if self.memory is None or not self.classes or not self.memory.is_calibrated:
            return None
        remembered = self.memory.similarities(pooled)
        familiar = self.memory.familiarity(pooled, remembered) >= self.memory.threshold(UNFAMILIAR)
        found = self.similarities(pooled, remembered)[familiar].argmax(dim=1)
        votes = torch.bincount(found, minlength=len(self.classes))
        return self.classes[int(votes.argmax())] if 2 * int(votes.max()) > len(pooled) else None

    def is_taught(self, name: str) -> bool:
        """Returns whether a class has taught examples."""
        return self._number(name, self.taught) is not None

    @staticmethod
    def _number(name: str, names: Sequence[str]) -> int | None:
        # All at once, as there can be many; names have no line breaks, which normalisation keeps.
        forms = canonical("\n".join(names)).split("\n") if names else []
        wanted = canonical(str(name))
        return forms.index(wanted) if wanted in forms else None

    @property
    def added_classes(self) -> list[str]:
        """Names of the taught classes that have no templates."""
        return self.classes[self.templates.shape[0] :]

    def forget(self) -> None:
        """Forgets the memory, and with it all taught classes."""
        self.classes = self.classes[: self.templates.shape[0]]
        self.memory, self.taught = None, []

    def forward(self, states: Sequence[Tensor], chosen: Sequence[Chosen]) -> Tensor:
        """Computes logits; see the class for arguments and shapes."""
        return self.logits(self.pool(states, chosen))
