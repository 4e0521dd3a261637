"""Batch normalisation and rectifier for nodes of one type, whose batches come in several groups and may be tiny."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from grapheme_pyg.nn import kernels


class GroupedBatchNormReLU(nn.Module):
    r"""Batch normalisation (Ioffe and Szegedy, 2015) over one group of nodes at a time, and the rectifier after it.

    A node type may occur in several levels of a sweep; each level is a group with statistics of its own.
    Groups of fewer than two rows use the running statistics. Those move once for each sweep, towards
    the statistics of all its groups together: call :meth:`start` before the first one and :meth:`update` after
    the last.

    Args:
        channels: Width of the states.
        eps: Added to the variance.
        momentum: Weight of the newest sweep in the running statistics.

    Shapes:
        - **x**: ``[num_rows, channels]``
        - **output**: the same
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
        self._seen: list[tuple[int, Tensor, Tensor]] = []
        # The running statistics that the last sweep in training started with.
        self._before: tuple[Tensor, Tensor] | None = None

    def reset_parameters(self) -> None:
        """Makes the affine map the identity and forgets the running statistics."""
        nn.init.ones_(self.weight)
        nn.init.zeros_(self.bias)
        self.running_mean.zero_()
        self.running_var.fill_(1)

    def start(self) -> None:
        """Forgets groups of a sweep that did not come to its end."""
        self._seen.clear()

    def forward(self, x: Tensor) -> Tensor:
        """Normalises one group, and makes negative results zero."""
        statistics = (self.running_mean, self.running_var)
        has_kernel = kernels.takes_norm(x, self.weight, self.bias, *statistics)
        if not self.training:
            if has_kernel and not torch.is_grad_enabled():
                return kernels.known_norm_relu(x.contiguous(), self.weight, self.bias, *statistics, self.eps)
            return F.relu_(F.batch_norm(x, *statistics, self.weight, self.bias, eps=self.eps))
        if x.shape[0] < 2:
            return self.by_running_statistics(x)
        if has_kernel:
            out, mean, variance = _norm_relu(x.contiguous(), self.weight, self.bias, self.eps)
        else:
            mean, variance = self.running_mean.clone(), self.running_var.clone()
            # With momentum 1 the "running" statistics that come back are this group's own, its variance unbiased.
            out = F.batch_norm(x, mean, variance, self.weight, self.bias, training=True, momentum=1.0, eps=self.eps)
            out, variance = F.relu_(out), variance * ((x.shape[0] - 1) / x.shape[0])
        self.see(x.shape[0], mean, variance)
        return out

    def by_running_statistics(self, x: Tensor) -> Tensor:
        """Normalises a group that is too small for statistics of its own, and makes negative results zero."""
        if _computes_again() and self._before is not None:
            mean, variance = self._before
        else:
            # Copies, because the backward pass reads what `update` is about to change.
            mean, variance = self.running_mean.clone(), self.running_var.clone()
        return F.relu_(F.batch_norm(x, mean, variance, self.weight, self.bias, eps=self.eps))

    def see(self, num_rows: int, mean: Tensor, variance: Tensor) -> None:
        """Notes what a group has shown, for :meth:`update`.

        Args:
            num_rows: Of the group, at least 2.
            mean: ``[channels]``.
            variance: ``[channels]``, biased.
        """
        self._seen.append((num_rows, mean, variance))

    @torch.no_grad()
    def update(self) -> None:
        """Moves the running statistics by what the groups of the sweep have shown; once, if it is computed again."""
        if not self._seen or _computes_again():
            return
        self._before = self.running_mean.clone(), self.running_var.clone()
        total = sum(count for count, _, _ in self._seen)
        if len(self._seen) == 1:
            _, mean, variance = self._seen.pop()
        else:
            shares = self.running_mean.new_tensor([count / total for count, _, _ in self._seen])[:, None]
            means = torch.stack([mean for _, mean, _ in self._seen])
            variances = torch.stack([variance for _, _, variance in self._seen])
            self._seen.clear()
            mean = (shares * means).sum(0)
            variance = (shares * (variances + (means - mean).square())).sum(0)
        self.running_mean.lerp_(mean, self.momentum)
        # Unbiased.
        self.running_var.lerp_(variance * (total / (total - 1)), self.momentum)

    def extra_repr(self) -> str:
        """What ``repr`` shows."""
        return f"{self.weight.numel()}, eps={self.eps}, momentum={self.momentum}"


def _computes_again() -> bool:
    """Whether this is part of a backward pass: gradient checkpointing computes there what it has not kept.

    The second time has to come to the same result as the first, or gradients are those of another function.
    """
    return torch._C._current_graph_task_id() != -1


class _NormReLU(torch.autograd.Function):
    """Both in one pass forward and one backward; also the means and biased variances, without gradients."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
        out, mean, variance = kernels.norm_relu(x, weight, bias, eps)
        ctx.save_for_backward(x, weight, bias, mean, variance)
        ctx.eps = eps
        ctx.mark_non_differentiable(mean, variance)
        return out, mean, variance

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_out: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
        x, weight, bias, mean, variance = ctx.saved_tensors
        return *kernels.norm_relu_backward(grad_out, x, weight, bias, mean, variance, ctx.eps), None


# PyTorch does not annotate `apply`.
_norm_relu: Callable[[Tensor, Tensor, Tensor, float], tuple[Tensor, Tensor, Tensor]] = _NormReLU.apply
