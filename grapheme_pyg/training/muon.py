"""Muon for the matrices of the DAG, AdamW for everything else, as one optimiser."""

from collections.abc import Callable, Iterable, Sequence
from functools import reduce
from typing import Any

import torch
from torch import Tensor

# Coefficients of the quintic iteration, tuned for its slope at zero (Jordan, 2024), and its steps.
NEWTON_SCHULZ, STEPS = (3.4445, -4.7750, 2.0315), 5
# The state of each parameter, besides the number of its steps.
MUON, ADAMW = ("momentum_buffer",), ("exp_avg", "exp_avg_sq")
# The shorter sides of matrices are padded to multiples of this.
SIDE = 32


class MuonAdamW(torch.optim.AdamW):
    r"""Optimises kernels by Muon and other parameters by AdamW.

    Muon (Jordan, "Muon: An optimizer for hidden layers in neural networks", 2024) replaces the momentum :math:`M` of a
    kernel ``[num_relations, in, out]``, taken as one matrix ``[num_relations · in, out]``, by the nearest matrix with
    orthonormal columns, so that every direction learns at the same pace:

    .. math:: W \leftarrow (1 - \eta \lambda) W - \eta \sqrt{\max(1, rows / columns)} \;
        \operatorname{orthogonal}(\beta M + (1 - \beta) G)

    With ``shared``, each relation also moves by the update for the sum of :math:`M` over all relations, as if its
    weight were :math:`W_r + W_0` with a common :math:`W_0`.

    A matrix can have a whitening matrix :math:`P` of its inputs, see :meth:`whiten`. Then :math:`P V` is learned in its
    place, and :math:`V` moves by the update above, that is, :math:`W` by :math:`P \operatorname{orthogonal}(P^\top M)`.

    (``torch.optim.Muon`` takes parameters of two dimensions only, and leaves the others to a second optimiser.)

    Args:
        kernels: Parameters of two or more dimensions, for Muon.
        others: Groups of parameters, for AdamW.
        lr: Learning rate of AdamW.
        kernel_lr: Learning rate of Muon.
        kernel_decay: Weight decay of Muon.
        momentum: The factor :math:`\beta`, in [0, 1).
        shared: Whether relations share a part of their updates.
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
        shared: bool = False,
    ) -> None:
        kernel_group = {"params": list(kernels), "lr": kernel_lr, "weight_decay": kernel_decay, "momentum": momentum}
        groups = [
            {**kernel_group, "shared": shared, "orthogonal": True},
            *({**group, "orthogonal": False} for group in others),
        ]
        super().__init__([group for group in groups if group["params"]], lr=lr, fused=True)
        # Muon does not unscale gradients, so AdamW must not: ``torch.amp.GradScaler`` then does it for both.
        self._step_supports_amp_scaling = False

    def make_states(self) -> None:
        """Makes the states of all parameters, which are else made in their first steps, so that any can be loaded."""
        for group in self.param_groups:
            for parameter in group["params"]:
                self._make_state(parameter, *(MUON if group["orthogonal"] else ADAMW))

    def _make_state(self, parameter: Tensor, *slots: str) -> None:
        # AdamW expects the number of steps in every state that it loads.
        step = {"step": torch.zeros((), dtype=torch.float32, device=parameter.device)}
        self.state[parameter] = step | {slot: torch.zeros_like(parameter) for slot in slots}

    def whiten(self, kernel: Tensor, whitening: Tensor) -> None:
        """Sets the whitening matrix of a kernel's inputs.

        Args:
            kernel: A parameter ``[in, out]`` of Muon.
            whitening: ``[in, in]``.
        """
        if not self.state[kernel]:
            self._make_state(kernel, *MUON)
        self.state[kernel]["whitening"] = whitening.to(kernel)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Takes a step of both optimisers."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            if group["orthogonal"]:
                learning = [parameter for parameter in group["params"] if parameter.grad is not None]
                self._step(learning, group["lr"], group["weight_decay"], group["momentum"], shared=group["shared"])
        groups = self.param_groups
        self.param_groups = [group for group in groups if not group["orthogonal"]]
        try:
            super().step()
        finally:
            self.param_groups = groups
        return loss

    def _step(self, parameters: list[Tensor], lr: float, decay: float, momentum: float, *, shared: bool) -> None:
        grads = []
        for parameter in parameters:
            assert parameter.grad is not None
            grads.append(parameter.grad)
            if not self.state[parameter]:
                self._make_state(parameter, *MUON)
            self.state[parameter]["step"] += 1
        if not parameters:
            return
        buffers = [self.state[parameter]["momentum_buffer"] for parameter in parameters]
        torch._foreach_lerp_(buffers, grads, 1 - momentum)
        moved = list(torch._foreach_lerp(grads, buffers, momentum))
        states = [self.state[parameter] for parameter in parameters]
        whitened = {i: state["whitening"] for i, state in enumerate(states) if "whitening" in state}
        for i, whitening in whitened.items():
            moved[i] = whitening.t() @ moved[i]
        directions = [(parameter, matrix.flatten(0, -2)) for parameter, matrix in zip(parameters, moved, strict=True)]
        if shared:
            several = [(one, kernel) for one, kernel in zip(parameters, moved, strict=True) if kernel.dim() > 2]
            directions += [(parameter, kernel.sum(0)) for parameter, kernel in several if len(kernel) > 1]
        torch._foreach_mul_(parameters, 1 - lr * decay)
        updates = orthogonal_all([direction for _, direction in directions])
        for i, ((parameter, _), update) in enumerate(zip(directions, updates, strict=True)):
            scale = max(1.0, update.shape[0] / update.shape[1]) ** 0.5
            if i in whitened:
                update = whitened[i] @ update
            # For each relation, or the same for all of them.
            parameter.add_(update.view(-1, *parameter.shape[1:]), alpha=-lr * scale)


def orthogonal_all(matrices: Sequence[Tensor]) -> list[Tensor]:
    """Approximates the nearest matrices with orthonormal rows or columns, with singular values between 0.7 and 1.2.

    Each step of the Newton-Schulz iteration multiplies the matrix by a polynomial of its Gram matrix. These polynomials
    commute, so all steps are computed on the Gram matrix, ``[columns, columns]`` for a tall matrix, which is itself
    multiplied once, at the end. Small matrices cost more in calls than in arithmetic, so those of similar shorter sides
    are padded with zeros and computed as one batch.

    Args:
        matrices: Each ``[rows, columns]``; zeros stay zeros.
    """
    tall = [matrix if matrix.shape[0] > matrix.shape[1] else matrix.t() for matrix in matrices]
    sides: dict[int, list[int]] = {}
    for i, x in enumerate(tall):
        sides.setdefault(-(-x.shape[1] // SIDE) * SIDE, []).append(i)
    out = list(tall)
    for side, places in sides.items():
        grams = tall[places[0]].new_zeros(len(places), side, side)
        for i, gram in zip(places, grams, strict=True):
            width = tall[i].shape[1]
            torch.mm(tall[i].t(), tall[i], out=gram[:width, :width])
        # The trace of the Gram matrix is the square of the matrix's norm.
        lengths = grams.diagonal(dim1=1, dim2=2).sum(1).sqrt_().add_(1e-7)[:, None, None]
        products = _newton_schulz(grams / lengths.square()) / lengths
        for i, product in zip(places, products, strict=True):
            width = tall[i].shape[1]
            out[i] = tall[i] @ product[:width, :width]
    return [x if matrix.shape[0] > matrix.shape[1] else x.t() for x, matrix in zip(out, matrices, strict=True)]


def _newton_schulz(gram: Tensor) -> Tensor:
    """Returns the factors of matrices with given Gram matrices, ``[batch, side, side]``."""
    a, b, c = NEWTON_SCHULZ
    factors: list[Tensor] = []
    for _ in range(STEPS):
        if factors:
            gram = gram @ factors[-1] @ factors[-1]
        factor = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        factor.diagonal(dim1=1, dim2=2).add_(a)
        factors.append(factor)
    return reduce(torch.matmul, factors)
