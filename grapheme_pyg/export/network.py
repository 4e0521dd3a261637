"""A trained model as a plain function of tables: gathers, matrix products and the rectifier."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from grapheme_pyg.export.input_format import InputFormat, Source
from grapheme_pyg.model import ImageClassificationModel
from grapheme_pyg.nn.norm import GroupedBatchNormReLU


class TableNetwork(nn.Module):
    """What :class:`grapheme_pyg.ImageClassificationModel` computes in evaluation mode, of tables instead of a graph.

    Batch normalisation becomes part of the weights. The module shares none with the model.

    Args:
        model: Trained, in float32 on the CPU, without classes that were added from examples.
        input_format: What it shall read.

    Shapes:
        - **inputs**: for each name of ``input_format.inputs`` a tensor of that shape: features and edge attributes
          float32, all else int64, where 0 stands for nothing and r + 1 for row r
        - **output**: ``logits`` and ``similarities``, float32 ``[graphs, num_classes]``
    """

    def __init__(self, model: ImageClassificationModel, input_format: InputFormat) -> None:
        super().__init__()
        self.format = input_format
        dag, classifier = model.dag, model.classifier
        self.widths = dict(zip(dag.vocabulary.node_types, dag.hidden_channels, strict=True))
        self.input_weight, self.weight, self.edge_weight = nn.ParameterDict(), nn.ParameterDict(), nn.ParameterDict()
        self.bias, self.norm = nn.ParameterDict(), nn.ModuleDict()
        for name, width in self.widths.items():
            scale, self.bias[name] = torch.ones(width), torch.zeros(width)
            norm = dict(dag.norm.items()).get(name)
            if isinstance(norm, GroupedBatchNormReLU):
                scale = norm.weight / (norm.running_var + norm.eps).sqrt()
                self.bias[name] = norm.bias - norm.running_mean * scale
            elif isinstance(norm, nn.LayerNorm):
                self.norm[name] = nn.LayerNorm(width, eps=norm.eps)
                self.norm[name].load_state_dict(norm.state_dict())
            else:
                self.bias[name] = dag.bias[name].clone()
            if name in dag.input_weight:
                self.input_weight[name] = dag.input_weight[name] * scale
            for pair in (pair for pair in dag.weight if pair.endswith(f"__{name}")):
                self.weight[pair] = (dag.weight[pair] * scale).flatten(0, 1)
                if dag.edge_dim:
                    self.edge_weight[pair] = (dag.edge_weight[pair] * scale).flatten(0, 1)
        self.projection = nn.Parameter(classifier.project.weight.t().contiguous())
        self.templates = nn.Parameter(F.normalize(classifier.templates, dim=-1))
        self.temperature = nn.Parameter(classifier.log_temperature.exp())
        self.pooled_widths = classifier.in_channels
        self.requires_grad_(False).eval()

    def forward(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Logits and similarities; see the class for shapes."""
        states: list[Tensor] = []
        for number, generation in enumerate(self.format.generations):
            state = self.bias[generation.name]
            if generation.num_features:
                state = state + inputs[f"x_{number}"] @ self.input_weight[generation.name]
            for source in generation.sources:
                pair, place = f"{source.node_type}__{generation.name}", f"{number}_{source.node_type}"
                table = inputs[f"neighbours_{place}"]
                rows = self._known(states, source, self.widths[source.node_type])
                state = state + self._mean(F.embedding(table, rows), table).flatten(1) @ self.weight[pair]
                if self.format.edge_dim:
                    attributes = self._mean(inputs[f"edge_attr_{place}"], table)
                    state = state + attributes.flatten(1) @ self.edge_weight[pair]
            states.append(F.relu(self.norm[generation.name](state) if generation.name in self.norm else state))
        pooled = torch.cat([self._pool(states, inputs, number) for number in range(len(self.format.readouts))], dim=1)
        directions = F.normalize(pooled @ self.projection, dim=-1)
        num_classes, per_class, _ = self.templates.shape
        cosines = directions @ self.templates.flatten(0, 1).t()
        similarities = cosines.view(-1, num_classes, per_class).amax(dim=-1)
        return {"logits": self.temperature * similarities, "similarities": similarities}

    def _known(self, states: list[Tensor], source: Source, width: int) -> Tensor:
        """Rows that tables number: zeros, which stand for nothing, then all states of the source."""
        return torch.cat([torch.zeros(1, width), *(states[number] for number in source.generations)])

    def _mean(self, rows: Tensor, table: Tensor) -> Tensor:
        """Means within each relation, ``[nodes, num_relations, channels]``; 0 where there is no neighbour."""
        if self.format.single:
            return rows.squeeze(2)
        return rows.sum(dim=2) / (table > 0).sum(dim=2).clamp(min=1).unsqueeze(2)

    def _pool(self, states: list[Tensor], inputs: dict[str, Tensor], number: int) -> Tensor:
        """Mean and maximum of the pooled nodes of each graph, ``[graphs, 2 · channels]``; 0 where there are none."""
        readout, table, width = self.format.readouts[number], inputs[f"readout_{number}"], self.pooled_widths[number]
        parts = [F.pad(states[i], (0, width - states[i].shape[1])) for i in readout.generations]
        rows = F.embedding(table, torch.cat([torch.zeros(1, width), *parts]))
        mean = rows.sum(dim=1) / (table > 0).sum(dim=1, keepdim=True).clamp(min=1)
        # No state is below zero, which stands for none.
        return torch.cat([mean, rows.amax(dim=1)], dim=1)
