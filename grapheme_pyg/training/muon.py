"""Muon for the matrices of the DAG, AdamW for everything else, as one optimiser."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

# Of the quintic iteration, tuned for its slope at zero (Jordan, 2024).
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)


class MuonAdamW(torch.optim.AdamW):
    r"""Muon (Jordan, "Muon: An optimizer for hidden layers in neural networks", 2024) beside AdamW.

    The momentum :math:`M` of a kernel ``[num_relations, in, out]``, seen as one matrix ``[num_relations · in, out]``,
    is replaced by the nearest matrix with orthonormal columns, so that every direction learns at the same pace:

    .. math:: W \leftarrow (1 - \eta \lambda) W - \eta \sqrt{\max(1, rows / columns)} \;
        \operatorname{orthogonal}(\beta M + (1 - \beta) G)

    ``torch.optim.Muon`` takes parameters of two dimensions only and leaves the rest to a second optimiser.

    Args:
        kernels: Parameters of two or more dimensions, for Muon.
        others: Groups of parameters, for AdamW.
        lr: Learning rate of AdamW.
        kernel_lr: Learning rate of Muon.
        kernel_decay: Weight decay of Muon.
        momentum: :math:`\beta`.
    """

    def __init__(
        self,
        kernels: Iterable[Tensor],
        others: Iterable[dict[str, Any]],
        *,
        lr: float,
        kernel_lr: float,
        kernel_decay: float,
        momentum: float = 0.95,
    ) -> None:
        kernel_group = {"params": list(kernels), "lr": kernel_lr, "weight_decay": kernel_decay, "momentum": momentum}
        groups = [{**kernel_group, "orthogonal": True}, *({**group, "orthogonal": False} for group in others)]
        super().__init__([group for group in groups if group["params"]], lr=lr)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step of both."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            if group["orthogonal"]:
                for parameter in group["params"]:
                    if parameter.grad is not None:
                        self._step(parameter, parameter.grad, group["lr"], group["weight_decay"], group["momentum"])
        groups = self.param_groups
        self.param_groups = [group for group in groups if not group["orthogonal"]]
        try:
            super().step()
        finally:
            self.param_groups = groups
        return loss

    def _step(self, parameter: Tensor, grad: Tensor, lr: float, decay: float, momentum: float) -> None:
        state = self.state[parameter]
        if not state:
            state["step"] = torch.zeros(())  # AdamW looks for it in every state that it loads
            state["momentum_buffer"] = torch.zeros_like(grad)
        state["step"] += 1
        buffer = state["momentum_buffer"].lerp_(grad, 1 - momentum)
        update = orthogonal(grad.lerp(buffer, momentum).flatten(0, -2))
        scale = max(1.0, update.shape[0] / update.shape[1]) ** 0.5
        parameter.mul_(1 - lr * decay).add_(update.view_as(parameter), alpha=-lr * scale)


def orthogonal(matrix: Tensor, steps: int = 5) -> Tensor:
    """Roughly the nearest matrix with orthonormal rows or columns: singular values between 0.7 and 1.2.

    Each step multiplies by a polynomial of the matrix of inner products. These polynomials commute, so all steps are
    done on the smaller side, ``[columns, columns]`` of a tall matrix, which is itself multiplied once, at the end.

    Args:
        matrix: ``[rows, columns]``; one that is all zeros stays so.
        steps: Of the Newton-Schulz iteration.
    """
    a, b, c = NEWTON_SCHULZ
    x: Tensor = matrix / (matrix.norm() + 1e-7)
    tall = x.shape[0] > x.shape[1]
    x = x if tall else x.t()
    gram = x.t() @ x
    identity = torch.eye(gram.shape[0], dtype=gram.dtype, device=gram.device)
    product = identity
    for _ in range(steps):
        factor = a * identity + b * gram + c * gram @ gram
        product = product @ factor
        gram = gram @ factor @ factor
    x = x @ product
    return x if tall else x.t()
