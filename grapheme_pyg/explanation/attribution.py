"""Attributions of a class to the edges and features of a graph, by PyG's explainers or one gradient."""

from copy import deepcopy
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch_geometric.data import Data
from torch_geometric.explain import CaptumExplainer, Explainer, ExplainerAlgorithm, GNNExplainer
from torch_geometric.explain.algorithm.utils import set_masks

from grapheme_pyg.extras import missing

if TYPE_CHECKING:
    from grapheme_pyg.model import ImageClassificationModel

METHODS = ("gradient", "integrated", "gnnexplainer")
# Number of steps on the path of integrated gradients.
STEPS = 50
# In the order of `ImageClassificationModel.forward_graph`, since Captum passes them by position.
FIELDS = ("edge_type", "node_type", "level", "edge_attr")


class SeededGNNExplainer(GNNExplainer):
    """PyG's explainer with masks that are drawn from a seed, and not from the generator that all threads share."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.generator = torch.Generator().manual_seed(seed)

    def _initialize_masks(self, x: Tensor, edge_index: Tensor) -> None:
        # With the standard deviations of PyG.
        self.node_mask = nn.Parameter(0.1 * torch.randn(x.shape, generator=self.generator))
        drawn = torch.randn(edge_index.shape[1], generator=self.generator) * (2.0 / len(x)) ** 0.5
        self.edge_mask = nn.Parameter(drawn) if self.explainer_config.edge_mask_type else None


def log_odds(logits: Tensor, target: int) -> Tensor:
    r"""Returns the log-odds of a class, :math:`z_t - \log\sum_{k \ne t} e^{z_k}`.

    A single logit would also depend on the clarity of the image, since cosines with all templates rise and fall
    together; the log-odds depend on it much less.

    Args:
        logits: ``[batch_size, num_classes]``.
        target: Number of the class.

    Returns:
        ``[batch_size]``; the logit itself if there is only one class.
    """
    if logits.shape[1] == 1:
        return logits[:, 0]
    others = torch.cat([logits[:, :target], logits[:, target + 1 :]], dim=1)
    return logits[:, target] - others.logsumexp(dim=1)


class Lead(nn.Module):
    """Computes :func:`log_odds` of a class, ``[1]``, from a graph's fields for explainers; logits without a class."""

    def __init__(self, model: "ImageClassificationModel", target: int | None) -> None:
        super().__init__()
        self.model, self.target = model, target

    def forward(
        self,
        x: Tensor,
        edge_index: Tensor,
        edge_type: Tensor,
        node_type: Tensor | None = None,
        level: Tensor | None = None,
        edge_attr: Tensor | None = None,
    ) -> Tensor:
        """See the class."""
        logits: Tensor = self.model.forward_graph(x, edge_index, edge_type, node_type, level, edge_attr)
        return logits if self.target is None else log_odds(logits, self.target)


def frozen_copy(model: "ImageClassificationModel") -> "ImageClassificationModel":
    """Returns a copy on the CPU, in evaluation mode and without gradients, which shares the weights if it can.

    Explainers put masks into a model, which must not affect other users of it.
    """
    memo: dict[int, object] = {id(model.vision): model.vision}
    memo |= {id(weight): nn.Parameter(weight.detach(), requires_grad=False) for weight in model.parameters()}
    memo |= {id(buffer): buffer for buffer in model.buffers()}
    copy = deepcopy(model, memo).eval().cpu()
    # Attributions have the precision of the features, and half precision would be too coarse.
    return copy if copy.classifier.templates.dtype == torch.float64 else copy.float()


def attribute(
    model: "ImageClassificationModel", graph: Data, target: int, method: str, seed: int
) -> tuple[Tensor, Tensor]:
    """Attributes a class to the edges and features of a graph.

    Args:
        model: A copy of the model, which keeps masks afterwards.
        graph: The graph of one image.
        target: Number of the class.
        method: One of ``METHODS``; see :func:`grapheme_pyg.explanation.explain`.
        seed: Seed of ``"gnnexplainer"``.

    Returns:
        The attributions ``[num_edges]`` and ``[num_nodes, num_features]``.
    """
    if method == "gradient":
        return gradient(Lead(model, target), graph)
    algorithm: ExplainerAlgorithm
    if method == "integrated":
        try:
            algorithm = CaptumExplainer("IntegratedGradients", n_steps=STEPS)
        except ModuleNotFoundError as error:
            raise missing("captum", 'for method="integrated"', "explain") from error
        of_class: int | None = target
        mode = {"mode": "regression", "task_level": "graph", "return_type": "raw"}
    else:
        algorithm, of_class = SeededGNNExplainer(seed), None
        mode = {"mode": "multiclass_classification", "task_level": "graph", "return_type": "raw"}
    explainer = Explainer(
        Lead(model, of_class),
        algorithm,
        explanation_type="phenomenon",
        node_mask_type="attributes",
        # Explainers refuse a mask that nothing depends on.
        edge_mask_type="object" if graph.num_edges else None,
        model_config=mode,
    )
    fields = {name: graph.get(name) for name in FIELDS}
    found = explainer(graph.x, graph.edge_index, target=torch.tensor([target]), **fields)
    edges = found.edge_mask if graph.num_edges else graph.x.new_zeros(0)
    return edges.detach(), found.node_mask.detach()


def gradient(score: nn.Module, graph: Data) -> tuple[Tensor, Tensor]:
    """Computes the gradient of a score by a mask of ones over edges, and features times gradient, in one backward pass.

    Args:
        score: A module that takes ``x``, ``edge_index`` and ``FIELDS``, and has parts that take masks.
        graph: The graph of one image.

    Returns:
        The attributions ``[num_edges]`` and ``[num_nodes, num_features]``.
    """
    x = graph.x.clone().requires_grad_()
    mask = torch.ones(graph.num_edges, dtype=x.dtype, requires_grad=True)
    set_masks(score, mask, graph.edge_index, apply_sigmoid=False)
    found = score(x, graph.edge_index, **{name: graph.get(name) for name in FIELDS})
    edges, features = torch.autograd.grad(found.sum(), (mask, x), materialize_grads=True)
    return edges, (features * x).detach()
