"""PyG's layers in place of ours, on the same superpixel graphs.

    python benchmarks/studies/superpixel_layers.py

Only layers and optimisers differ. Graphs, readout, templates, images, augmentation and training are the same, and the
numbers of weights are similar. Like `DagNN`, the stacks of PyG's layers distinguish node types, by a matrix on the
features of each; they have as many layers as the graphs have steps, each with batch normalisation and a residual
connection, and GATv2 gets the offsets between regions. The time of a step, forward and backward over the same graphs,
is a multiple of the first row's. Training is on MNIST without its last 5,000 training images, which are for validation;
the test set is not used.
"""

import argparse
import sys
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.data import Batch, Data
from torch_geometric.nn import GATv2Conv, GCNConv

sys.path.append(str(Path(__file__).parents[1]))  # helpers of all benchmarks
from common import split_mnist, spread
from timing import in_turn

from grapheme_pyg import ImageClassificationModel, TrainingSettings, VisionBrain, fit
from grapheme_pyg.datasets import Split
from grapheme_pyg.evaluation import evaluate
from grapheme_pyg.nn.plan import Plan
from grapheme_pyg.nn.planning import make_plan
from grapheme_pyg.nn.vocabulary import EdgeVocabulary

HEADS = 4
# Channels of our model, fewer than by default since the other layers are slow, and channels with which the others have
# about as many weights.
DAG_CHANNELS = (32, 64, 96)
CHANNELS = {"GCNConv": 176, "GATv2Conv": 120}
BATCH_SIZE, TURNS = 128, 3


class Stack(nn.Module):
    """A stack of layers of one kind, each of which updates all nodes."""

    def __init__(self, kind: str, vision: VisionBrain, channels: int) -> None:
        super().__init__()
        self.with_offsets = kind == "GATv2Conv"
        self.vocabulary = EdgeVocabulary(vision.metadata)
        node_types = vision.metadata[0]
        self.types = nn.Parameter(torch.empty(len(node_types), vision.num_features, channels))
        nn.init.kaiming_uniform_(self.types.flatten(0, 1), nonlinearity="relu")
        if self.with_offsets:
            convs: list[Any] = [GATv2Conv(channels, channels // HEADS, HEADS, edge_dim=3) for _ in node_types[1:]]
        else:
            convs = [GCNConv(channels, channels) for _ in node_types[1:]]
        self.convs = nn.ModuleList(convs)
        self.norms = nn.ModuleList(nn.BatchNorm1d(channels) for _ in node_types)

    def plan(self, *fields: Any, **options: Any) -> Plan:
        """Plans like :class:`grapheme_pyg.nn.DagNN`; the model finds the pooled nodes in the plan."""
        return make_plan(self.vocabulary, *fields, **options)

    def forward(self, x: Tensor, edge_index: Tensor, node_type: Tensor, edge_attr: Tensor) -> Tensor:
        """Computes the states of all nodes."""
        # A matrix for each node type.
        h: Tensor = torch.zeros(x.shape[0], self.types.shape[2], dtype=x.dtype)
        for i, weight in enumerate(self.types):
            mine = (node_type == i).nonzero().squeeze(1)
            h = h.index_add(0, mine, x[mine] @ weight)
        h = self.norms[0](h).relu()
        extra = {"edge_attr": edge_attr} if self.with_offsets else {}
        for conv, norm in zip(self.convs, list(self.norms)[1:], strict=True):
            h = h + norm(conv(h, edge_index, **extra)).relu()
        return h


class StackModel(ImageClassificationModel):
    """Our model, with a stack of layers of one kind in place of DagNN."""

    def __init__(self, kind: str) -> None:
        vision, channels = VisionBrain("superpixel"), CHANNELS[kind]
        super().__init__(vision, hidden_channels=[channels] * (max(vision.node_levels) + 1))
        self.register_module("dag", Stack(kind, vision, channels))

    def pool(self, batch: Data | Batch, plan: Plan | None = None) -> Tensor:
        plan = self.plan(batch) if plan is None else plan
        states = self.dag(batch.x, batch.edge_index, batch.node_type, batch.edge_attr)[plan.tables.sweep.nodes]
        by_generation = states.split([generation.num_nodes for generation in plan.generations])
        return self.classifier.pool(plan.pooled(by_generation, states), plan.chosen)


def build(kind: str) -> ImageClassificationModel:
    """Makes our model, or one with a stack of layers of another kind."""
    if kind == "DagNN":
        return ImageClassificationModel(VisionBrain("superpixel"), hidden_channels=DAG_CHANNELS)
    return StackModel(kind)


def forward_and_backward(model: ImageClassificationModel, batch: Batch) -> None:
    """Runs a forward and a backward pass."""
    F.cross_entropy(model(batch), batch.y).backward()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = ("DagNN", *CHANNELS)
    parser.add_argument("--layers", nargs="+", choices=kinds, default=kinds)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--train", type=int, default=10_000, metavar="N", help="training images (10,000)")
    arguments = parser.parse_args()
    training, validation = split_mnist()
    training = Split(training.images[: arguments.train], training.labels[: arguments.train])
    batch = VisionBrain("superpixel").batch(training.images[:BATCH_SIZE], training.labels[:BATCH_SIZE])
    ways = {kind: partial(forward_and_backward, build(kind), batch) for kind in arguments.layers}
    times = in_turn(ways, turns=TURNS, warm_up=1)
    print("| layers | optimiser | weights | time of a step | validation accuracy |\n|---|---|---|---|---|", flush=True)
    for kind in arguments.layers:
        # Muon is for the DAG's kernels, which PyG's layers lack.
        for optimizer in ("muon", "adamw") if kind == "DagNN" else ("adamw",):
            found = []
            for seed in arguments.seeds:
                torch.manual_seed(seed)
                model = build(kind)
                settings = TrainingSettings(
                    epochs=arguments.epochs, batch_size=BATCH_SIZE, seed=seed, optimizer=optimizer, robust=False
                )
                fit(model, *training, settings=settings, verbose=False)
                found.append(evaluate(model.predict(validation.images).probabilities, validation.labels).accuracy)
            weights = sum(parameter.numel() for parameter in model.parameters())
            slower = times[kind] / times[arguments.layers[0]]
            print(f"| `{kind}` | {optimizer} | {weights:,} | {slower:.1f} | {spread(found)} |", flush=True)


if __name__ == "__main__":
    main()
