"""Batch normalisation and rectifier for nodes of one type, whose batches come in several groups and may be tiny."""

import torch
from torch import Tensor, nn

from grapheme_pyg import ops

# Number of rows of a group, their means and their biased variances, [channels] each.
Statistics = tuple[int, Tensor, Tensor]


class GroupedBatchNormReLU(nn.Module):
    r"""Batch normalisation (Ioffe and Szegedy, 2015) over one group of nodes at a time, and the rectifier after it.

    A node type may occur in several levels of a sweep; each level is a group with statistics of its own.
    Groups of fewer than two rows use the running statistics. Those move once for each sweep, towards
    the statistics of all its groups together: call :meth:`update` after the last.

    Args:
        channels: Width of the states.
        eps: Added to the variance.
        momentum: Weight of the newest sweep in the running statistics.

    Shapes:
        - **x**: ``[num_rows, channels]``
        - **seen**: a list, to which a group in training adds its statistics
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
        # The running statistics that the last sweep in training started with.
        self._before: tuple[Tensor, Tensor] | None = None

    def reset_parameters(self) -> None:
        """Makes the affine map the identity and forgets the running statistics."""
        nn.init.ones_(self.weight)
        nn.init.zeros_(self.bias)
        self.running_mean.zero_()
        self.running_var.fill_(1)

    def forward(self, x: Tensor, seen: list[Statistics]) -> Tensor:
        """Normalises one group, and makes negative results zero."""
        if not self.training:
            return ops.norm_relu_known(x, self.weight, self.bias, self.running_mean, self.running_var, self.eps)
        if x.shape[0] < 2:
            return self._by_running_statistics(x)
        out, mean, variance = ops.norm_relu(x, self.weight, self.bias, self.eps)
        seen.append((x.shape[0], mean, variance))
        return out

    def _by_running_statistics(self, x: Tensor) -> Tensor:
        """Normalises a group that is too small for statistics of its own, and makes negative results zero."""
        if _computes_again() and self._before is not None:
            mean, variance = self._before
        else:
            # Copies, because the backward pass reads what `update` is about to change.
            mean, variance = self.running_mean.clone(), self.running_var.clone()
        return ops.norm_relu_known(x, self.weight, self.bias, mean, variance, self.eps)

    @torch.no_grad()
    def update(self, seen: list[Statistics]) -> None:
        """Moves the running statistics by what the groups of a sweep have shown; once, if it is computed again."""
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
        # Unbiased.
        self.running_var.lerp_((variance * (total / (total - 1))).to(self.running_var.dtype), self.momentum)

    def extra_repr(self) -> str:
        """What ``repr`` shows."""
        return f"{self.weight.numel()}, eps={self.eps}, momentum={self.momentum}"


def _computes_again() -> bool:
    """Whether this is part of a backward pass: gradient checkpointing computes there what it has not kept.

    The second time has to come to the same result as the first, or gradients are those of another function.
    """
    return not torch.compiler.is_compiling() and torch._C._current_graph_task_id() != -1
