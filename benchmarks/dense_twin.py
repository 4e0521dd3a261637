"""A model's arithmetic as dense convolutions, which equal its graph network where every cell is present."""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from grapheme_pyg import ImageClassificationModel, VisionBrain


class DenseTwin(nn.Module):
    """The layers of a grid model with three levels, as ``Conv2d`` and ``BatchNorm2d`` over all cells of a lattice.

    Each lateral round is a 3×3 convolution, each step to a coarser level one with stride 2, and each input weight one
    of 1×1. The maps of each level are pooled by mean and maximum, and the classifier is the model's. With the same
    weights and images whose cells are all present, the logits are the same.

    Args:
        model: The model to copy, with ``norm="batch"`` and three levels.
    """

    def __init__(self, model: ImageClassificationModel) -> None:
        super().__init__()
        dag = model.dag
        types = dag.vocabulary.node_types
        self.levels = model.vision.node_levels
        self.inputs, self.convs, self.norms = nn.ModuleDict(), nn.ModuleDict(), nn.ModuleList()
        for number, name in enumerate(types):
            width = dag.hidden_channels[number]
            if name in dag.input_weight:
                kernel = dag.input_weight[name]
                self.inputs[str(number)] = conv = nn.Conv2d(kernel.shape[0], width, 1, bias=False)
                conv.weight.data.copy_(kernel.t()[:, :, None, None])
            if number > 0:
                kernel = dag.weight[f"{types[number - 1]}__{name}"]
                stride = 1 + (self.levels[number] > self.levels[number - 1])
                conv = nn.Conv2d(kernel.shape[1], width, 3, stride=stride, padding=1, bias=False)
                # The relations of a pair are the places of its kernel, row by row.
                conv.weight.data.copy_(kernel.view(3, 3, *kernel.shape[1:]).permute(3, 2, 0, 1))
                self.convs[str(number)] = conv
            self.norms.append(nn.BatchNorm2d(width))
        self.classifier = model.classifier

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Computes logits ``[N, num_classes]`` from each level's features, ``[N, num_features, rows, columns]``."""
        pooled: list[Tensor] = []
        state = maps[0]
        for number, norm in enumerate(self.norms):
            received = []
            if str(number) in self.convs:
                received.append(self.convs[str(number)](state))
            if str(number) in self.inputs:
                received.append(self.inputs[str(number)](maps[self.levels[number]]))
            state = F.relu_(norm(sum(received[1:], received[0])))
            if number + 1 == len(self.norms) or self.levels[number + 1] > self.levels[number]:
                pooled += [state.mean((2, 3)), state.amax((2, 3))]
        logits: Tensor = self.classifier.logits(torch.cat(pooled, dim=1))
        return logits


def channels_last(twin: DenseTwin) -> DenseTwin:
    """Returns a copy with its kernels in the channels-last layout, which is often faster."""
    twin = copy.deepcopy(twin)
    for weight in twin.parameters():
        if weight.dim() == 4:
            weight.data = weight.data.contiguous(memory_format=torch.channels_last)
    return twin


def lattice_maps(vision: VisionBrain, images: Tensor) -> list[Tensor]:
    """Computes the features of all cells of each level, present or not, ``[N, num_features, rows, columns]``.

    Args:
        vision: A brain in grid mode, with three levels for images of this size.
        images: uint8 ``[N, H, W]``.
    """
    _, features = vision.finder.measure(vision.prepared(images[:, None]))
    hierarchy = vision.finder.lattice(*images.shape[-2:])
    assert hierarchy is not None  # in grid mode
    maps = []
    for level, width in enumerate(dict(zip(vision.node_levels, vision.node_features, strict=True)).values()):
        rows = features[:, :-1][:, hierarchy.level == level, :width]
        count = int(hierarchy.centre[hierarchy.level == level, 1].unique().numel())
        maps.append(rows.transpose(1, 2).unflatten(2, (count, -1)).contiguous())
    return maps
