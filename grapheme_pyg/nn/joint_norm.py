"""Batch statistics of a batch that several processes share, each with some of its graphs."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable

from grapheme_pyg import ops
from grapheme_pyg.nn.norm import GroupedBatchNormReLU, Statistics
from grapheme_pyg.nn.plan import Generation

# Levels whose nodes are counted at once; sweeps with more take two more exchanges.
LEVELS = 32


class JointNorms:
    """Normalises the groups of one sweep by the rows of all processes.

    Graphs differ, and so do the groups that processes have. They first tell one another how many nodes they have of
    each node type in each level, and then take part in the statistics of every group that any of them has, all in the
    same order: forward by level and node type, backward the other way round.

    Args:
        groups: Of this process's sweep, by level and node type.
        norms: Of each node type.
        seen: For each node type, a list to which its groups add their statistics.
        process_group: The processes.
    """

    def __init__(
        self,
        groups: Sequence[Generation],
        norms: Sequence[GroupedBatchNormReLU],
        seen: Sequence[list[Statistics]],
        process_group: dist.ProcessGroup,
    ) -> None:
        self._norms, self._seen, self._process_group = norms, seen, process_group
        self._num_rows = rows_of_all(groups, len(norms), process_group)
        self._ahead = list(self._num_rows)
        # Goes through every exchange, so that each one is needed for the gradient of this, whatever the graphs are.
        self._token = torch.zeros((), requires_grad=True)

    def normalise(self, x: Tensor, group: Generation) -> Tensor:
        """Normalises the rows of a group, ``[num_rows, channels]``, and makes negative results zero."""
        if group.num_nodes == 0:
            # Whether others have any is not known here; those that come next ask.
            return x
        while (key := self._ahead.pop(0)) != (group.level, group.node_type):
            self._take_part(x.new_empty(0, self._norms[key[1]].weight.numel()), key)
        return self._take_part(x, key)

    def finish(self, like: Tensor, outputs: Sequence[Tensor]) -> list[Tensor]:
        """Takes part in the last groups, which this process has no rows of.

        Args:
            like: A tensor of the dtype and device of states.
            outputs: What is made of the states.

        Returns:
            The outputs, from each of which a gradient finds its way to all exchanges; an empty one if there are none.
        """
        for key in self._ahead:
            self._take_part(like.new_empty(0, self._norms[key[1]].weight.numel()), key)
        self._ahead = []
        return [_with_token(out, self._token) for out in outputs or [like[:0, :0]]]

    def _take_part(self, x: Tensor, key: tuple[int, int]) -> Tensor:
        norm, num_rows = self._norms[key[1]], self._num_rows[key]
        if num_rows < 2:
            return norm.by_running_statistics(x)
        constants = (norm.running_mean, norm.eps, num_rows, self._process_group)
        out, mean, variance, self._token = _joint_norm_relu(x, norm.weight, norm.bias, self._token, *constants)
        self._seen[key[1]].append((num_rows, mean, variance))
        return out


def rows_of_all(
    groups: Sequence[Generation], num_node_types: int, process_group: dist.ProcessGroup
) -> dict[tuple[int, int], int]:
    """How many nodes all processes have together, by level and node type, in this order; only where there are any."""
    counts = _counts(groups, num_node_types, LEVELS)
    dist.all_reduce(counts, group=process_group)
    if counts[-1] > 0:
        deepest = torch.tensor(max((group.level for group in groups if group.num_nodes), default=0))
        dist.all_reduce(deepest, dist.ReduceOp.MAX, group=process_group)
        counts = _counts(groups, num_node_types, int(deepest) + 1)
        dist.all_reduce(counts, group=process_group)
    return {divmod(key, num_node_types): count for key, count in enumerate(counts.tolist()) if count > 0}


def _counts(groups: Sequence[Generation], num_node_types: int, num_levels: int) -> Tensor:
    """Nodes by level and type, and last, those of higher levels, ``[num_levels · num_node_types + 1]``."""
    counts = [0] * (num_levels * num_node_types + 1)
    for group in groups:
        counts[min(group.level * num_node_types + group.node_type, len(counts) - 1)] += group.num_nodes
    return torch.tensor(counts)


class _JointNormReLU(torch.autograd.Function):
    r"""Batch normalisation over the rows of all processes, and the rectifier; also the means and biased variances.

    Forward, processes add up :math:`\sum x` and :math:`\sum x^2` about an origin that all have; backward, with the
    normalised :math:`h` and the gradient :math:`z` where the rectifier lets it through,
    :math:`\sum z` and :math:`\sum z h`, of which

    .. math:: \partial x = \frac{w}{\sigma} \Bigl(z - \frac{\sum z}{N} - h \frac{\sum z h}{N}\Bigr)

    Each process's own moments are taken about its mean, and only then turned into sums, in double precision, in which
    the difference of large sums is exact enough for single precision. About the running mean, which the batch's comes
    near to, hardly anything cancels in double precision either.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        token: Tensor,
        origin: Tensor,
        eps: float,
        num_rows: int,
        process_group: dist.ProcessGroup,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        x = x.contiguous()
        sums = torch.zeros(2, weight.numel(), dtype=torch.float64, device=x.device)
        if x.shape[0] > 0:
            own_mean, own_variance = _moments(x, weight, bias, eps)
            own_mean -= origin
            sums = torch.stack([own_mean, own_variance + own_mean.square()]) * x.shape[0]
        dist.all_reduce(sums, group=process_group)
        mean, square = sums / num_rows
        variance = (square - mean.square()).clamp_min(0).to(weight.dtype)
        mean = (mean + origin).to(weight.dtype)
        ctx.save_for_backward(x, weight, bias, mean, variance)
        ctx.eps, ctx.num_rows, ctx.process_group = eps, num_rows, process_group
        ctx.mark_non_differentiable(mean, variance)
        out = ops.norm_relu_known(x, weight, bias, mean, variance, eps)
        return out, mean, variance, token.clone()

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, grad_out: Tensor, _mean: Tensor, _variance: Tensor, grad_token: Tensor
    ) -> tuple[Tensor | None, ...]:
        x, weight, bias, mean, variance = ctx.saved_tensors
        inverse = (variance + ctx.eps).rsqrt()
        # It takes away the means of this process's own rows, so that what remains to be taken is a difference.
        gradients = ops.norm_relu_backward(grad_out, x, weight, bias, mean, variance, ctx.eps)
        grad_x, grad_weight, grad_bias = gradients
        sums = torch.stack([grad_bias, grad_weight]).double()
        taken = sums / max(x.shape[0], 1)
        dist.all_reduce(sums, group=ctx.process_group)
        shift, slope = (sums / ctx.num_rows - taken).to(weight.dtype) * (weight * inverse)
        # (x − mean) · slope / σ + shift, as one product and one sum for each element.
        slope = slope * inverse
        grad_x = grad_x - torch.addcmul(shift - mean * slope, x.to(weight.dtype), slope)
        return grad_x.to(x.dtype), grad_weight, grad_bias, grad_token, None, None, None, None


def _moments(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """Means and biased variances of rows, ``[channels]`` float64."""
    # Normalising by them, in vain, makes one pass more, and is still much faster than PyTorch's own.
    _, mean, variance = ops.norm_relu(x, weight, bias, eps)
    return mean.double(), variance.double()


class _WithToken(torch.autograd.Function):
    """The same tensor; backward, the token gets a gradient of zero."""

    @staticmethod
    def forward(ctx: Any, out: Tensor, token: Tensor) -> Tensor:
        ctx.save_for_backward(token)
        return out.view_as(out)

    @staticmethod
    def backward(ctx: Any, grad_out: Tensor) -> tuple[Tensor, Tensor]:
        return grad_out, torch.zeros_like(ctx.saved_tensors[0])


# PyTorch does not annotate `apply`.
_joint_norm_relu: Callable[..., tuple[Tensor, Tensor, Tensor, Tensor]] = _JointNormReLU.apply
_with_token: Callable[[Tensor, Tensor], Tensor] = _WithToken.apply
