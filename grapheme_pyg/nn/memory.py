"""Memory: the training examples of a finished model, to compare new images with."""

from collections.abc import Callable
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Variance that is added in every direction before whitening, as a share of the mean variance.
SHRINKAGE = 0.1
# Of the old examples, the share that a new class may claim.
CLAIMED = 0.005
# How many old examples that share is measured on.
MEASURED = 5000
QUANTILES = 1001
ROWS_AT_ONCE = 512


class Memory(nn.Module):
    r"""Nearest remembered examples, in a space in which classes are round.

    Pooled states :math:`p` become keys

    .. math:: k = \frac{(\Sigma + \lambda I)^{-1/2} (p - \mu)}{\lVert \cdot \rVert}

    with the covariance :math:`\Sigma` within classes, which makes cosines those of Mahalanobis distance (Lee et al., "A
    Simple Unified Framework for Detecting Out-of-Distribution Samples", 2018). An image is as familiar as its nearest
    remembered key is similar (Sun et al., "Out-of-Distribution Detection with Deep Nearest Neighbors", 2022).

    A class can be added from a few examples. It claims an image if its nearest key, plus an offset, is more similar
    than the nearest key of the classes from training. The offset is such that it would claim a small share of the
    remembered examples: few examples lie further from their class than many, and would claim too little without it.

    Its tensors keep their precision whatever that of the model.

    Args:
        channels: Width of pooled states.
        num_keys: Remembered examples.
        num_added: Classes that were added.

    Shapes:
        - **keys**: ``[num_keys, channels]`` float16, of length 1
        - **added**: ``[num_keys]`` int64: −1 for an example from training, else the number of the added class
        - **offsets**: ``[num_added]``
        - **quantiles**: ``[1001]``, of the familiarity of images that are known to be of a known kind; NaN until
          calibrated
    """

    center: Tensor
    whitening: Tensor
    keys: Tensor
    added: Tensor
    offsets: Tensor
    quantiles: Tensor

    def __init__(self, channels: int, num_keys: int = 0, num_added: int = 0) -> None:
        super().__init__()
        self.register_buffer("center", torch.zeros(channels, dtype=torch.float32))
        self.register_buffer("whitening", torch.eye(channels, dtype=torch.float32))
        # Cosines to three digits are all that is asked of them, and there are many.
        self.register_buffer("keys", torch.zeros(num_keys, channels, dtype=torch.float16))
        self.register_buffer("added", torch.zeros(num_keys, dtype=torch.int64))
        self.register_buffer("offsets", torch.zeros(num_added, dtype=torch.float32))
        self.register_buffer("quantiles", torch.full((QUANTILES,), torch.nan, dtype=torch.float32))

    # Half precision, which a model may be put into, would blur what is compared; double would quadruple the keys.
    # All of `to`, `half`, `double` and `cuda` go through this method.
    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        nn.Module._apply(self, lambda tensor: fn(tensor).to(tensor.dtype), recurse)
        return self

    def check(self) -> None:
        """Refuses a memory from a file that contradicts itself.

        Raises:
            ValueError: An example is of no class, or a class is without an example.
        """
        num_added = self.offsets.numel()
        classes = self.added.unique().tolist()
        if classes != list(range(-1, num_added)):
            expected = f"examples of training (-1) and of each of {num_added} added classes"
            raise ValueError(f"classifier.memory.added: expected {expected}, got those of {str(classes)[:100]}")

    @classmethod
    @torch.no_grad()
    def of(cls, pooled: Tensor, labels: Tensor) -> Self:
        """Remembers examples of the classes that a model was trained on.

        Args:
            pooled: ``[num_examples, channels]``.
            labels: ``[num_examples]`` int64, in [0, num_classes).
        """
        memory = cls(pooled.shape[1], pooled.shape[0]).to(pooled.device)
        pooled = pooled.double()
        counts = torch.bincount(labels)
        means = pooled.new_zeros(counts.numel(), pooled.shape[1]).index_add_(0, labels, pooled)
        means /= counts.clamp_min(1)[:, None]
        within = pooled - means[labels]
        variances, axes = torch.linalg.eigh(within.t() @ within / pooled.shape[0])
        # The least variance keeps keys finite where each class has one example.
        spread = variances.clamp_min(0) + SHRINKAGE * variances.mean() + 1e-12
        memory.center = means[counts > 0].mean(dim=0).float()
        memory.whitening = (axes / spread.sqrt()).float().contiguous()  # as it is loaded, to the last bit
        memory.keys = memory.keys_of(pooled.float()).half()
        memory.added.fill_(-1)
        return memory

    def keys_of(self, pooled: Tensor) -> Tensor:
        """Keys of pooled states, ``[num_images, channels]`` of length 1."""
        return F.normalize((pooled.float() - self.center) @ self.whitening, dim=-1)

    @torch.no_grad()
    def nearest(self, pooled: Tensor, number: int = 1) -> tuple[Tensor, Tensor]:
        """The remembered examples that are nearest to images.

        Args:
            pooled: ``[num_images, channels]``.
            number: Of examples for each image.

        Returns:
            Cosines ``[num_images, number]``, falling, and positions among the keys, of the same shape.
        """
        keys, memory = self.keys_of(pooled), self.keys.float()
        found = [(rows @ memory.t()).topk(number, dim=1) for rows in keys.split(ROWS_AT_ONCE)]
        # Rounded keys are a little longer or shorter than 1.
        cosines = torch.cat([values for values, _ in found]).clamp(-1, 1)
        return cosines, torch.cat([places for _, places in found])

    def familiarity(self, pooled: Tensor) -> Tensor:
        """Cosine with the nearest remembered example of any class, ``[num_images]``."""
        return self.nearest(pooled)[0].squeeze(1)

    @torch.no_grad()
    def calibrate(self, pooled: Tensor) -> None:
        """Learns how familiar known images are, from some that were not remembered: ``[num_images, channels]``."""
        at = torch.linspace(0, 1, QUANTILES, dtype=torch.float32, device=pooled.device)
        self.quantiles = torch.quantile(self.familiarity(pooled), at)

    def threshold(self, reject: float) -> Tensor:
        """The familiarity that a share ``reject`` of known images does not reach."""
        return torch.quantile(self.quantiles, reject)

    @torch.no_grad()
    def add(self, pooled: Tensor) -> None:
        """Remembers the examples of a new class, ``[num_examples, channels]``."""
        new = self.keys_of(pooled)
        number = self.offsets.numel()
        # Old examples, each compared with all others: the nearest to each is itself.
        old = (self.added < 0).nonzero().flatten()
        old_keys = self.keys[old].float()
        last, number_of_old = old.numel() - 1, min(old.numel(), MEASURED)
        some = old[torch.linspace(0, last, number_of_old, dtype=torch.float32, device=old.device).long()]
        gains = []
        for rows in some.split(ROWS_AT_ONCE):
            keys = self.keys[rows].float()
            others = keys @ old_keys.t()
            others[old[None] == rows[:, None]] = -1
            gains.append((keys @ new.t()).amax(dim=1) - others.amax(dim=1))
        self.offsets = torch.cat([self.offsets, -torch.quantile(torch.cat(gains), 1 - CLAIMED)[None]])
        self.keys = torch.cat([self.keys, new.half()])
        self.added = torch.cat([self.added, self.added.new_full((new.shape[0],), number)])

    @torch.no_grad()
    def claims(self, pooled: Tensor) -> Tensor:
        """How much each added class claims images: positive where it does, ``[num_images, num_added]``."""
        classes = [self.keys[self.added == number].float().t() for number in range(-1, self.offsets.numel())]
        claims = []
        for rows in self.keys_of(pooled).split(ROWS_AT_ONCE):
            old, *new = [(rows @ keys).amax(dim=1) for keys in classes]
            claims.append(torch.stack(new, dim=1) + self.offsets - old[:, None])
        return torch.cat(claims)
