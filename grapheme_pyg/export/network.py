"""PlannedModel: a trained model as a function of a plan's tensors, with norms folded into the weights."""

from copy import deepcopy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from grapheme_pyg.export.input_format import InputFormat
from grapheme_pyg.model import ImageClassificationModel
from grapheme_pyg.nn import DagNN
from grapheme_pyg.nn.norm import GroupedBatchNormReLU
from grapheme_pyg.nn.plan import Generation, Neighbours, Segments, pad_channels, pooled_states


class PlannedModel(nn.Module):
    """Computes what :class:`grapheme_pyg.ImageClassificationModel` does in evaluation mode, from tensors alone.

    Args:
        model: A trained model in float32 on the CPU; it is not changed.
        input_format: The inputs.

    Shapes:
        - **inputs**: for each name in ``input_format.inputs`` a tensor of that shape and dtype
        - **output**: ``logits`` and ``similarities``, float32 ``[graphs, num_classes]``
    """

    def __init__(self, model: ImageClassificationModel, input_format: InputFormat) -> None:
        super().__init__()
        self.format = input_format
        self.dag, self.classifier = fold_norms(model.dag), deepcopy(model.classifier)
        self.requires_grad_(False).eval()

    def forward(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Computes logits and similarities; see the class for shapes."""
        x = [inputs.get(f"x_{number}", inputs["x_0"]) for number in range(len(self.format.generations))]
        states = self.dag.sweep(x, self._generations(inputs), inputs.get("edge_attr"))
        rows = pooled_states(states, [readout.generations for readout in self.format.readouts], inputs["x_0"])
        widths = self.classifier.in_channels
        parts = [
            _mean_and_max(pad_channels(some, width), inputs[f"pooled_{k}"])
            for k, (some, width) in enumerate(zip(rows, widths, strict=True))
        ]
        similarities = self.classifier.similarities(torch.cat(parts, dim=1))
        return {"logits": self.classifier.temperature * similarities, "similarities": similarities}

    def _generations(self, inputs: dict[str, Tensor]) -> list[Generation]:
        found = []
        for number, one in enumerate(self.format.generations):
            sources = []
            for source in one.sources:
                place = f"{number}_{source.node_type}"
                names = ("sources", "first", "segment")
                segments = None if self.format.single else Segments(*(inputs[f"{name}_{place}"] for name in names))
                pair = f"{source.node_type}__{one.name}"
                rows, edges = inputs[f"rows_{place}"], inputs.get(f"edges_{place}")
                sources.append(Neighbours(pair, tuple(source.generations), rows, None, edges, segments))
            # Any tensor of the right length can stand in for the nodes, since only their number is used.
            nodes = inputs[f"x_{number}"] if one.has_own else sources[0].rows
            found.append(Generation(one.level, one.node_type, nodes, tuple(sources)))
        return found


def _mean_and_max(states: Tensor, table: Tensor) -> Tensor:
    """Does :func:`grapheme_pyg.ops.mean_max_pool` by a table of padded lists; returns ``[graphs, 2 · channels]``.

    Scattering is slow in other programs. Padding with zeros is harmless, since no state is below zero.
    """
    rows = F.embedding(table, F.pad(states, (0, 0, 1, 0)))
    mean = rows.sum(dim=1) / (table > 0).sum(dim=1, keepdim=True).clamp(min=1)
    return torch.cat([mean, rows.amax(dim=1)], dim=1)


def fold_norms(dag: DagNN) -> DagNN:
    """Returns a copy of a network with the batch normalisation of evaluation mode multiplied into its weights."""
    if not any(isinstance(norm, GroupedBatchNormReLU) for norm in dag.norm.values()):
        return deepcopy(dag)
    vocabulary = dag.vocabulary
    folded = DagNN(
        (vocabulary.node_types, vocabulary.edge_types),
        dag.in_channels,
        dag.hidden_channels,
        edge_dim=dag.edge_dim,
        norm=None,
        residual=dag.residual,
    )
    with torch.no_grad():
        for name, norm in dag.norm.items():
            assert isinstance(norm, GroupedBatchNormReLU)
            scale = norm.weight / (norm.running_var + norm.eps).sqrt()
            folded.bias[name].copy_(norm.bias - norm.running_mean * scale)
            if name in dag.input_weight:
                folded.input_weight[name].copy_(dag.input_weight[name] * scale)
            for pair in (pair for pair in dag.weight if pair.endswith(f"__{name}")):
                folded.weight[pair].copy_(dag.weight[pair] * scale)
                if dag.edge_dim:
                    folded.edge_weight[pair].copy_(dag.edge_weight[pair] * scale)
    return folded
