"""Explanations: which edges, nodes and pixels decided."""

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
    """What spoke for and against a class.

    Attributes:
        graph: Of the image.
        label: Name of the predicted class.
        target: Number of the explained class.
        method: How attributions were found.

    Shapes:
        - **edges**: ``[num_edges]`` float32
        - **nodes**: ``[num_nodes]`` float32, of their features
        - **pixels**: ``[H, W]`` float32, of the same features, put back on the pixels that they were measured on

    Attributions are in units of log-odds, positive for the class and negative against it, by the methods
    ``"gradient"`` and ``"integrated"``; by ``"gnnexplainer"`` they are the weights of a mask, of edges in [0, 1], not
    negative.
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
    r"""Says which edges, nodes and pixels spoke for or against a class.

    What is explained is the log-odds of the class, :math:`s = z_t - \log\sum_{k \ne t} e^{z_k}` of the logits
    :math:`z`, as a function of the features :math:`x` of nodes and of a mask :math:`m` of ones over edges, by which
    messages are multiplied:

    - ``"gradient"``: :math:`\partial s / \partial m` and :math:`x \, \partial s / \partial x` (K. Simonyan et al.,
      "Deep inside convolutional networks", 2014; A. Shrikumar et al., "Not just a black box", 2016).
    - ``"integrated"``: the same, averaged on the way from :math:`x = 0, m = 0`, so that edges and nodes together add
      up to what the log-odds rise on that way (M. Sundararajan et al., "Axiomatic attribution for deep networks",
      2017). Needs Captum.
    - ``"gnnexplainer"``: a mask in [0, 1] that keeps the class likely with little of the graph (R. Ying et al.,
      "GNNExplainer", 2019); found by descent from a random start.

    Args:
        model: Is left as it is, whatever mode it is in.
        image: As :class:`grapheme_pyg.VisionBrain` takes it.
        method: As above.
        target: Number of the class to explain; the predicted one if None.
        seed: Where ``"gnnexplainer"`` starts. PyTorch's own random state stays as it is.

    Raises:
        ValueError: The method is unknown, there is no such class, or the image is not as above.
        GraphemeError: What the model computes is not finite.
        ImportError: Captum is missing.

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
