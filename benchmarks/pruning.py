"""Models without some of their relations, and which relations are the weakest, for `prune_relations.py`."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import torch
from plain_training import mean_loss_and_accuracy
from torch import Tensor
from torch_geometric.data import Batch, Data
from torch_geometric.typing import EdgeType

from grapheme_pyg import ImageClassificationModel, VisionBrain
from grapheme_pyg.datasets import Split
from grapheme_pyg.nn.plan import Plan
from grapheme_pyg.nn.readout import Readout
from grapheme_pyg.ops import plan_readout
from grapheme_pyg.vision.lattice import Lattice

SCORES = ("norm", "norm_rms", "loss", "random")


class PrunedBrain(VisionBrain):
    """A VisionBrain that leaves out edges of some types.

    Args:
        removed: Numbers of these edge types in the full vocabulary.
        renumber: Whether the vocabulary loses them too, and the other edge types move up.
        settings: Of the :class:`VisionBrain`.
    """

    def __init__(self, removed: Iterable[int], *, renumber: bool = True, **settings: Any) -> None:
        super().__init__(**settings)
        self.renumber = renumber
        self.kept = torch.ones(len(super().metadata[1]), dtype=torch.bool)
        self.kept[list(removed)] = False

    @property
    def metadata(self) -> tuple[list[str], list[EdgeType]]:
        node_types, edge_types = super().metadata
        kept = self.kept.tolist() if self.renumber else [True] * len(edge_types)
        return node_types, [name for name, keep in zip(edge_types, kept, strict=True) if keep]

    def _lattice(self, height: int, width: int) -> Lattice:
        # Graphs of images are subgraphs of the lattice: what it lacks, they lack.
        lattice = super()._lattice(height, width)
        assert lattice is not None  # in grid mode
        edges = self.kept[lattice.edge_type]
        number = self.kept.cumsum(0) - 1 if self.renumber else torch.arange(len(self.kept))
        return replace(
            lattice,
            edge_index=lattice.edge_index[:, edges],
            edge_type=number[lattice.edge_type[edges]],
            edge_attr=None if lattice.edge_attr is None else lattice.edge_attr[edges],
        )


class PrunedModel(ImageClassificationModel):
    """Pools the nodes that would be read out without pruning: not those that pruning has made sinks."""

    def plan(self, batch: Data | Batch) -> Plan:
        tables = super().plan(batch).tables
        sweep = tables.sweep._replace(is_sink=torch.zeros_like(tables.sweep.is_sink))
        kind, read, num_kinds = Readout(self.vision.node_kinds, self.vision.node_rounds).tables
        if self.readout.method == "sinks":
            kind, read, num_kinds = torch.zeros_like(kind), read & (kind == num_kinds - 1), 1
        sizes = num_kinds, tables.num_graphs
        chosen = plan_readout(batch.node_type, batch.get("batch"), sweep, kind, read, sizes)
        return Plan.of(replace(tables, readout=chosen))


def prune(
    model: ImageClassificationModel, removed: Iterable[int], *, renumber: bool = True
) -> ImageClassificationModel:
    """A copy of a model, with the weights of the relations that it keeps."""
    vision = PrunedBrain(removed, renumber=renumber, **model.vision.config)
    pruned = PrunedModel(vision, **model.config)
    # Matched by name; the removed ones are left over.
    missing, _ = pruned.load_state_dict(model.state_dict(), strict=False)
    assert not missing, missing
    return pruned.eval()


@torch.no_grad()
def count_and_rms(model: ImageClassificationModel, digits: Split) -> tuple[Tensor, Tensor]:
    """Edges of each type, and the root mean square of the states that are sent along them."""
    num_types = len(model.vision.metadata[1])
    count, squares = torch.zeros(num_types, dtype=torch.float64), torch.zeros(num_types, dtype=torch.float64)
    width = torch.tensor(model.dag.hidden_channels)
    for images in digits.images.split(500):
        batch = model.vision.batch(images)
        plan = model.plan(batch)
        states = plan.by_node(model.dag(batch.x, plan, batch.get("edge_attr")))
        square = (states.square().sum(dim=1) / width[batch.node_type]).double()
        count += batch.edge_type.bincount(minlength=num_types)
        squares += batch.edge_type.bincount(square[batch.edge_index[0]], minlength=num_types)
    return count, (squares / count.clamp_min(1)).sqrt()


@torch.no_grad()
def norms(model: ImageClassificationModel) -> Tensor:
    """Norm of the weights of each edge type."""
    vocabulary = model.dag.vocabulary
    places = zip(vocabulary.pair_of_type, vocabulary.relation_of_type, strict=True)
    return torch.stack([model.dag.weight[vocabulary.pairs[pair]][relation].norm() for pair, relation in places])


def rank(model: ImageClassificationModel, score: str, digits: Split, used: list[int], rms: Tensor) -> list[int]:
    """Some edge types, the weakest first.

    Args:
        model: The trained model.
        score: ``"norm"``, ``"norm_rms"`` or ``"loss"``; see `prune_relations.py`.
        digits: For the loss.
        used: The edge types to rank.
        rms: Of the states that are sent along each edge type.
    """
    if score == "loss":
        values = torch.tensor([mean_loss_and_accuracy(prune(model, [number]), digits)[0] for number in used])
    else:
        values = norms(model)[used] * (rms[used] if score == "norm_rms" else 1)
    return [used[i] for i in values.argsort(stable=True).tolist()]


def shuffle(used: list[int], seed: int) -> list[int]:
    """The control: edge types in random order."""
    order = torch.randperm(len(used), generator=torch.Generator().manual_seed(seed))
    return [used[i] for i in order.tolist()]
