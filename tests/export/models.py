"""Untrained models whose batch norms have seen images, and images of all sorts."""

from typing import Any

import torch
from torch import Tensor

from grapheme_pyg import ImageClassificationModel, VisionBrain
from grapheme_pyg.nn.norm import GroupedBatchNormReLU


def model_of(images: Any, *, vision: dict[str, Any], **options: Any) -> ImageClassificationModel:
    """A narrow model with running statistics of these images, and with affine maps that are not the identity."""
    torch.manual_seed(0)
    brain = VisionBrain(**vision)
    widths = [4 + 2 * level for level in range(max(brain.node_levels) + 1)]
    model = ImageClassificationModel(brain, ["zero", "one", "two"], hidden_channels=widths, **options)
    for norm in model.dag.norm.modules():
        if isinstance(norm, GroupedBatchNormReLU | torch.nn.LayerNorm):
            torch.nn.init.uniform_(norm.weight, 0.5, 1.5)
            torch.nn.init.uniform_(norm.bias, -0.2, 0.5)
    for bias in model.dag.bias.values():
        torch.nn.init.uniform_(bias, -0.2, 0.5)
    with torch.no_grad():
        for _ in range(5):
            model(model.vision.batch(images))
    return model.eval()


def images_of_sizes(channels: int) -> list[Tensor]:
    """Noise of several sizes, among them one pixel; an image without contrast, whose graph is one node."""
    images = []
    for seed, size in enumerate([(28, 28), (20, 24), (40, 48), (1, 1), (5, 60), (8, 8)]):
        generator = torch.Generator().manual_seed(seed)
        noise = torch.randint(256, (channels, *size), generator=generator, dtype=torch.uint8)
        images.append(noise * (torch.rand(size, generator=generator) < 0.2))
    return [*images, torch.zeros(channels, 28, 28, dtype=torch.uint8), torch.zeros(channels, 64, 64, dtype=torch.uint8)]
