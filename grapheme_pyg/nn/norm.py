"""Batch normalisation and ReLU for nodes of one type, whose batches come in several groups and can be tiny."""

import torch
from torch import Tensor, nn

from grapheme_pyg import ops

# The number of rows of a group, and their means and biased variances, [channels].
Statistics = tuple[int, Tensor, Tensor]


class GroupedBatchNormReLU(nn.Module):
    r"""Applies batch normalisation (Ioffe and Szegedy, 2015) and ReLU to one group of nodes at a time.

    A node type can occur in several levels of a sweep; each level is a group with its own statistics. Groups of fewer
    than two rows use the running statistics. These are updated once for each sweep, from all its groups: call
    :meth:`update` after the last one.

    Args:
        channels: Width of the states.
        eps: Number that is added to the variance.
        momentum: Weight of the newest sweep in the running statistics.

    Shapes:
        - **x**: ``[num_rows, channels]``
        - **seen**: a list to which each group adds its statistics in training
        - **output**: as **x**
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, *, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__()
        self.eps, self.momentum = eps, momentum
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))
        # The running statistics before the last sweep in training.
        self._before: tuple[Tensor, Tensor] | None = None

    def reset_parameters(self) -> None:
        """Resets the affine map to the identity, and the running statistics."""
        nn.init.ones_(self.weight)
        nn.init.zeros_(self.bias)
        self.running_mean.zero_()
        self.running_var.fill_(1)

    def forward(self, x: Tensor, seen: list[Statistics]) -> Tensor:
        """Normalises one group and applies ReLU."""
        if self.training and x.shape[0] >= 2:
            out, mean, variance = ops.norm_relu(x, self.weight, self.bias, self.eps)
            seen.append((x.shape[0], mean, variance))
            return out
        mean, variance = self.running_mean, self.running_var
        if self.training and _computes_again() and self._before is not None:
            mean, variance = self._before
        elif self.training:
            # Copies, because the backward pass reads them after `update` has changed the originals.
            mean, variance = mean.clone(), variance.clone()
        return ops.norm_relu_known(x, self.weight, self.bias, mean, variance, self.eps)

    @torch.no_grad()
    def update(self, seen: list[Statistics]) -> None:
        """Updates the running statistics from the groups of a sweep; only once, if the sweep is computed again."""
        if not seen or _computes_again():
            return
        self._before = self.running_mean.clone(), self.running_var.clone()
        total = sum(count for count, _, _ in seen)
        _, mean, variance = seen[0]
        if len(seen) > 1:
            shares = torch.stack([mean.new_tensor(count / total) for count, _, _ in seen])[:, None]
            means = torch.stack([mean for _, mean, _ in seen])
            variances = torch.stack([variance for _, _, variance in seen])
            mean = (shares * means).sum(0)
            variance = (shares * (variances + (means - mean).square())).sum(0)
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum)
        unbiased = variance * (total / (total - 1))
        self.running_var.lerp_(unbiased.to(self.running_var.dtype), self.momentum)

    def extra_repr(self) -> str:
        """Returns the arguments that ``repr`` shows."""
        return f"{self.weight.numel()}, eps={self.eps}, momentum={self.momentum}"


def _computes_again() -> bool:
    """Returns whether this runs in a backward pass, as gradient checkpointing does, which must repeat the result."""
    return not torch.compiler.is_compiling() and torch._C._current_graph_task_id() != -1
