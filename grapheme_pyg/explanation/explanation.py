"""explain: attributes a prediction to edges, nodes and pixels."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch_geometric.data import Data

from grapheme_pyg.checks import as_int, as_seed
from grapheme_pyg.explanation.attribution import METHODS, attribute, frozen_copy
from grapheme_pyg.explanation.pixels import differentiable_types, on_pixels
from grapheme_pyg.prediction import require_finite
from grapheme_pyg.vision import VisionBrain
from grapheme_pyg.vision.pixels import to_pixels

if TYPE_CHECKING:
    from grapheme_pyg.model import ImageClassificationModel
    from grapheme_pyg.vision.pixels import Image


@dataclass(frozen=True)
class Explanation:
    """Attributions of a class to edges, nodes and pixels.

    Attributes:
        graph: The graph of the image.
        label: Name of the predicted class.
        target: Number of the explained class.
        method: The method of attribution.

    Shapes:
        - **edges**: ``[num_edges]`` float32
        - **nodes**: ``[num_nodes]`` float32, the sums over each node's features
        - **pixels**: ``[H, W]`` float32, the same features' attributions, on the pixels from which they were measured

    With the methods ``"gradient"`` and ``"integrated"``, attributions are in units of log-odds, positive for the class
    and negative against it. With ``"gnnexplainer"`` they are the weights of masks, which are not negative; those of
    edges are in [0, 1].
    """

    graph: Data
    label: str
    target: int
    method: str
    edges: Tensor
    nodes: Tensor
    pixels: Tensor


def explain(
    model: "ImageClassificationModel",
    image: "Image",
    method: str = "gradient",
    target: int | None = None,
    *,
    seed: int = 0,
) -> Explanation:
    r"""Attributes a class to the edges, nodes and pixels of an image.

    The log-odds of the class, :math:`s = z_t - \log\sum_{k \ne t} e^{z_k}` with the logits :math:`z`, are explained as
    a function of the nodes' features :math:`x` and a mask :math:`m` of ones over edges, by which messages are
    multiplied:

    - ``"gradient"``: :math:`\partial s / \partial m` and :math:`x \, \partial s / \partial x` (K. Simonyan et al.,
      "Deep inside convolutional networks", 2014; A. Shrikumar et al., "Not just a black box", 2016).
    - ``"integrated"``: the same, averaged over the path from :math:`x = 0, m = 0`, so that the attributions of edges
      and nodes add up to the rise of the log-odds on this path (M. Sundararajan et al., "Axiomatic attribution for deep
      networks", 2017). This needs Captum.
    - ``"gnnexplainer"``: masks, found by gradient descent from a random start, which keep the class likely with a small
      part of the graph (R. Ying et al., "GNNExplainer", 2019).

    Args:
        model: The model, in any mode; it is not changed.
        image: An image in any form that :class:`grapheme_pyg.VisionBrain` accepts.
        method: ``"gradient"``, ``"integrated"`` or ``"gnnexplainer"``.
        target: Number of the class to explain; the predicted one if None.
        seed: Seed of ``"gnnexplainer"``. PyTorch's random state is not changed.

    Raises:
        ValueError: The method is unknown, there is no such class, or the image is invalid.
        GraphemeError: The model's results are not finite.
        ImportError: Captum is not installed.

    Example:
        >>> from grapheme_pyg import ImageClassificationModel, VisionBrain
        >>> explanation = explain(ImageClassificationModel(VisionBrain()), torch.eye(28))
        >>> explanation.pixels.shape, explanation.edges.shape[0] == explanation.graph.num_edges
        (torch.Size([28, 28]), True)
    """
    if method not in METHODS:
        raise ValueError(f"method: expected one of {METHODS}, got {method!r}")
    if target is not None:
        target = as_int("target", target, 0, len(model.classes) - 1)
    vision = model.vision
    if not all(differentiable_types(vision)):
        vision = VisionBrain(**(vision.config | {"seg": True}))
    pixels = to_pixels(image, vision.in_channels)
    graph = vision(pixels)
    copy = frozen_copy(model)
    with torch.no_grad():
        predicted = int(require_finite("logits", copy(graph)).argmax())
    if target is None:
        target = predicted
    with torch.enable_grad():
        edges, features = attribute(copy, graph, target, method, as_seed(seed))
        require_finite("attributions", features), require_finite("attributions", edges)
        on_image = on_pixels(features, graph, pixels, vision)
    return Explanation(
        graph=graph,
        label=model.classes[predicted],
        target=target,
        method=method,
        edges=edges.float(),
        nodes=features.sum(dim=1).float(),
        pixels=on_image.float(),
    )
