"""Memory keeps keys of training images and of taught classes, which new images are compared with."""

from collections.abc import Callable, Iterator
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from grapheme_pyg.ops import half_products

# Variance that is added in every direction before whitening, as a share of the mean variance.
SHRINKAGE = 0.1
# Largest number of channels of a key; and of keys of training images, shared evenly among the classes.
WIDTH, NUM_KEYS = 256, 1000
# Rounds of k-means; more hardly increase the cosines between training images and their keys.
ROUNDS = 8
# Shares of the training images: those that a new class may claim, and those that count as unfamiliar.
CLAIMED, UNFAMILIAR = 0.005, 0.05
QUANTILES = 1001
# Numbers of examples for which the familiarity of other images of the class is measured.
SHOTS = (1, 2, 5, 10, 20)
# Draws of that measurement, other images in each, and cosines from which a quantile is taken, at most.
DRAWS, SOME, MOST_MEASURED = 20, 500, 2**20
# The number of further examples at which what taught classes say counts half: each of itself, all of all.
DOUBT = 5
# Cosines above this are those of the same example twice, as stored keys have three digits.
SAME = 1 - 1e-3
# Taught classes that are compared within themselves when one changes, if there are more.
SOME_CLASSES = 500
# Cosines that are computed together.
COSINES_AT_ONCE = 2**24


class Memory(nn.Module):
    r"""Compares images with their nearest keys, in a space in which classes are round.

    Pooled states :math:`p` become keys

    .. math:: k = \frac{W (p - \mu)}{\lVert \cdot \rVert}

    where :math:`W` holds the widest directions of :math:`(\Sigma + \lambda I)^{-1/2}`, with the covariance
    :math:`\Sigma` within classes, so that cosines correspond to Mahalanobis distances (Lee et al., "A Simple Unified
    Framework for Detecting Out-of-Distribution Samples", 2018). The familiarity of an image is the cosine with its
    nearest key (Sun et al., "Out-of-Distribution Detection with Deep Nearest Neighbors", 2022). If there are many
    training images, keys are the centres of clusters, found for each class by k-means on the sphere (I. Dhillon and
    D. Modha, "Concept Decompositions for Large Sparse Text Data Using Clustering", 2001).

    A class can be taught from a few examples, each of which becomes a key. The class claims an image if the cosine with
    its nearest key, plus an offset, exceeds the cosine with the nearest key of training images. The offset lets it
    claim a small share of the training images; without it, classes with few examples would claim too little. For the
    same reason an allowance is added to the familiarity of its images: what a trained class would need if it had as few
    examples, corrected by the cosines of the examples with one another, more so the more examples there are. The
    corrections of all taught classes count for each of them, because drawings of a kind that training did not see are
    less alike.

    Its tensors keep their precision, whatever the precision of the model.

    Args:
        channels: Width of pooled states.
        width: Width of keys; ``channels`` if None.
        num_keys: Number of keys.
        num_added: Number of taught classes.

    Shapes:
        - **keys**: ``[num_keys, width]`` float16, of length 1
        - **added**: ``[num_keys]`` int64: −1 for keys of training images, else the number of the taught class
        - **positions**: ``[num_keys]`` int64, the remembered image that is nearest to each key
        - **total**: ``[]`` int64, the number of remembered images
        - **offsets**, **allowances**: ``[num_added]``
        - **means**: ``[num_added, width]`` float16, the mean of each taught class over its examples and their copies
        - **shots**: ``[2, 5]``, the 5 % quantile and the median of the familiarity of images whose class is known from
          1, 2, 5, 10 and 20 others
        - **quantiles**: ``[1001]``, of the familiarity of images of known kinds; NaN before calibration
    """

    center: Tensor
    whitening: Tensor
    keys: Tensor
    added: Tensor
    positions: Tensor
    total: Tensor
    offsets: Tensor
    allowances: Tensor
    means: Tensor
    shots: Tensor
    quantiles: Tensor

    def __init__(self, channels: int, width: int | None = None, num_keys: int = 0, num_added: int = 0) -> None:
        super().__init__()
        width = channels if width is None else width
        self.register_buffer("center", torch.zeros(channels, dtype=torch.float32))
        self.register_buffer("whitening", torch.eye(channels, width, dtype=torch.float32))
        # In half precision, as there can be many and cosines need only three digits.
        self.register_buffer("keys", torch.zeros(num_keys, width, dtype=torch.float16))
        self.register_buffer("added", torch.full((num_keys,), -1))
        self.register_buffer("positions", torch.arange(num_keys))
        self.register_buffer("total", torch.tensor(num_keys))
        self.register_buffer("offsets", torch.zeros(num_added, dtype=torch.float32))
        self.register_buffer("allowances", torch.zeros(num_added, dtype=torch.float32))
        self.register_buffer("means", torch.zeros(num_added, width, dtype=torch.float16))
        self.register_buffer("shots", torch.zeros(2, len(SHOTS), dtype=torch.float32))
        self.register_buffer("quantiles", torch.full((QUANTILES,), torch.nan, dtype=torch.float32))
        self.eval()  # as finished models are

    # `to`, `half`, `double` and `cuda` all call this. A change of dtype would lose digits, or enlarge the keys.
    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        nn.Module._apply(self, lambda tensor: fn(tensor).to(tensor.dtype), recurse)
        return self

    @property
    def num_added(self) -> int:
        """Number of taught classes."""
        return self.offsets.numel()

    @property
    def is_calibrated(self) -> bool:
        """Whether the familiarity of known images was measured."""
        return not bool(self.quantiles.isnan().any())

    def examples(self) -> list[int]:
        """Returns the number of examples of each taught class."""
        counts: list[int] = self._counts().tolist()
        return counts

    def _counts(self) -> Tensor:
        return torch.bincount(self.added + 1, minlength=1 + self.num_added)[1:]

    def check(self) -> None:
        """Checks a memory that was read from a file.

        Raises:
            ValueError: A key belongs to no class, or a class has no key.
        """
        classes = [number for number in self.added.unique().tolist() if number != -1]
        if classes != list(range(self.num_added)):
            expected = f"keys of training images (-1) and of each of {self.num_added} added classes"
            raise ValueError(f"classifier.memory.added: expected {expected}, got those of {str(classes)[:100]}")

    @classmethod
    @torch.no_grad()
    def of(cls, pooled: Tensor, labels: Tensor, positions: Tensor | None = None, total: int | None = None) -> Self:
        """Makes the memory of training images.

        Args:
            pooled: ``[num_examples, channels]``.
            labels: ``[num_examples]`` int64, in [0, num_classes).
            positions: ``[num_examples]`` int64, the position of each among all images; None if these are all.
            total: Number of all images; that of the examples if None.
        """
        positions = torch.arange(len(labels), device=labels.device) if positions is None else positions
        states = pooled.double()
        counts = torch.bincount(labels)
        means = states.new_zeros(counts.numel(), states.shape[1]).index_add_(0, labels, states)
        means /= counts.clamp_min(1)[:, None]
        center = means[counts > 0].mean(dim=0)
        within = states - means[labels]
        variances, axes = torch.linalg.eigh(within.t() @ within / len(states))
        # 1e-12 keeps keys finite if each class has one example.
        spread = variances.clamp_min(0) + SHRINKAGE * variances.mean() + 1e-12
        whitening = axes / spread.sqrt()
        # With fewer images than directions any choice of directions would be arbitrary.
        if len(states) > whitening.shape[1] > WIDTH:
            round_ = (states - center) @ whitening
            whitening = whitening @ torch.linalg.eigh(round_.t() @ round_)[1][:, -WIDTH:]
        memory = cls(*whitening.shape).to(pooled.device)
        memory.center = center.float()
        memory.whitening = whitening.float().contiguous()  # products depend on strides, and files have none
        keys = memory.keys_of(pooled)
        memory.measure(pooled, labels)
        classes = counts.nonzero().flatten().tolist()
        share = max(1, NUM_KEYS // len(classes))
        if len(keys) <= NUM_KEYS:
            memory.keys, memory.positions = keys.half(), positions
        else:
            found = [_clusters(keys, (labels == number).nonzero().flatten(), share) for number in classes]
            memory.keys, places = (torch.cat(parts) for parts in zip(*found, strict=True))
            memory.positions = positions[places]
        memory.total.fill_(len(keys) if total is None else total)
        memory.added = torch.full_like(memory.positions, -1)
        return memory

    def without_keys(self) -> Self:
        """Returns a memory of no images with the same key space and calibration."""
        empty = type(self)(*self.whitening.shape).to(self.keys.device)
        empty.center, empty.whitening = self.center.clone(), self.whitening.clone()
        empty.shots, empty.quantiles = self.shots.clone(), self.quantiles.clone()
        return empty

    def keys_of(self, pooled: Tensor) -> Tensor:
        """Returns the keys of pooled states, ``[num_images, width]`` of length 1."""
        return F.normalize((pooled.float() - self.center) @ self.whitening, dim=-1)

    def _cosines(self, keys: Tensor) -> Iterator[Tensor]:
        """Yields the cosines of a few images at a time with all keys, ``[some, num_keys]``."""
        # Exported programs accept any number of images and have no loops.
        at_once = max(1, COSINES_AT_ONCE // max(1, len(self.keys)))
        for rows in (keys,) if torch.compiler.is_exporting() else keys.split(at_once):
            yield half_products(rows, self.keys)

    @torch.no_grad()
    def nearest(self, pooled: Tensor, number: int = 1) -> tuple[Tensor, Tensor]:
        """Finds the nearest keys of images.

        Args:
            pooled: ``[num_images, channels]``.
            number: Number of keys to find for each image.

        Returns:
            Cosines ``[num_images, number]``, descending; and the positions ``[num_images, number]`` of the images that
            the keys stand for.
        """
        found = [cosines.topk(number, dim=1) for cosines in self._cosines(self.keys_of(pooled))]
        # The lengths of rounded keys are not exactly 1.
        cosines = torch.cat([values for values, _ in found]).clamp(-1, 1)
        return cosines, self.positions[torch.cat([places for _, places in found])]

    def similarities(self, pooled: Tensor) -> Tensor:
        """Returns the cosine with the nearest key of training images, and with that of each taught class.

        Args:
            pooled: ``[num_images, channels]``.

        Returns:
            ``[num_images, 1 + num_added]``; −1 where there is no key.
        """
        found = []
        for cosines in self._cosines(self.keys_of(pooled)):
            # Not `len`, which exported programs would take for a constant.
            best = cosines.new_full((cosines.shape[0], 1 + self.num_added), -1.0)
            owners = (self.added + 1).expand(cosines.shape[0], -1)
            found.append(best.scatter_reduce(1, owners, cosines, "amax").clamp(-1, 1))
        return torch.cat(found)

    @torch.no_grad()
    def familiarity(self, pooled: Tensor, found: Tensor | None = None) -> Tensor:
        """Returns the cosine with the nearest key, plus the allowance of its class if it was taught, ``[num_images]``.

        Args:
            pooled: ``[num_images, channels]``.
            found: Their :meth:`similarities`, if already computed.
        """
        found = self.similarities(pooled) if found is None else found
        return (found + F.pad(self.allowances, (1, 0))).amax(dim=1).clamp(-1, 1)

    @torch.no_grad()
    def measure(self, pooled: Tensor, labels: Tensor) -> None:
        """Measures the familiarity of images whose class has few examples.

        Args:
            pooled: ``[num_examples, channels]``, many of each class, not necessarily of all classes.
            labels: ``[num_examples]`` int64, not negative.
        """
        self.shots = _shots(self.keys_of(pooled), labels)

    @torch.no_grad()
    def calibrate(self, pooled: Tensor) -> None:
        """Measures the familiarity of known images that are not remembered, ``[num_images, channels]``."""
        at = torch.linspace(0, 1, QUANTILES, dtype=torch.float32, device=pooled.device)
        # Twice, because allowances depend on the threshold, and some known images may be of taught classes.
        for _ in range(2):
            self._allow()
            self.quantiles = torch.quantile(self.familiarity(pooled), at)

    def threshold(self, reject: float) -> Tensor:
        """Returns the familiarity that a share ``reject`` of known images does not reach."""
        return torch.quantile(self.quantiles, reject)

    @torch.no_grad()
    def add(self, pooled: Tensor, number: int | None = None) -> None:
        """Remembers examples of the taught class of this number, or of a new class.

        Args:
            pooled: ``[num_examples, channels]``; or ``[num_examples, num_copies, channels]`` for each example and its
                warped copies, which count in the mean of the class.
            number: Number of the class; None for a new class.
        """
        number = self.num_added if number is None else number
        if number == self.num_added:
            self.offsets = torch.cat([self.offsets, self.offsets.new_zeros(1)])
            self.allowances = torch.cat([self.allowances, self.allowances.new_zeros(1)])
            self.means = torch.cat([self.means, self.means.new_zeros(1, self.means.shape[1])])
        copies = self.keys_of(pooled if pooled.dim() == 3 else pooled[:, None])
        new, before = copies[:, 0].half(), int((self.added == number).sum())
        self.means[number] = (before * self.means[number] + copies.mean(dim=1).sum(dim=0)) / (before + len(new))
        self.keys = torch.cat([self.keys, new])
        self.added = torch.cat([self.added, self.added.new_full((len(new),), number)])
        self.positions = torch.cat([self.positions, self.total + torch.arange(len(new), device=new.device)])
        self.total += len(new)
        self._measure(number)

    @torch.no_grad()
    def remove(self, number: int) -> None:
        """Forgets a taught class; the numbers of later ones decrease by one."""
        kept = self.added != number
        self.keys, self.positions, added = self.keys[kept], self.positions[kept], self.added[kept]
        self.added = added - (added > number).long()
        others = torch.arange(self.num_added, device=added.device) != number
        self.offsets, self.allowances, self.means = self.offsets[others], self.allowances[others], self.means[others]
        self._allow()

    def _measure(self, number: int) -> None:
        """Sets the offset of a taught class from its examples, and the allowances of all."""
        old, new = self.keys[self.added < 0].float(), self.keys[self.added == number].float()
        if len(old):
            # Without the diagonal, each would be nearest to itself.
            others = (old @ old.t()).fill_diagonal_(-1)
            gains = (old @ new.t()).amax(dim=1) - others.amax(dim=1)
            self.offsets[number] = -torch.quantile(gains, 1 - CLAIMED)
        self._allow(number)

    def _allow(self, changed: int | None = None) -> None:
        """Sets the allowances of all taught classes; of many, only those of some and of the one that has changed."""
        counts = self._counts()
        chosen = torch.arange(len(counts), device=counts.device)
        if changed is not None and len(counts) > SOME_CLASSES:
            chosen = torch.cat([chosen[:: len(counts) // SOME_CLASSES], chosen[changed, None]]).unique()
        is_chosen = torch.zeros(1 + len(counts), dtype=torch.bool, device=counts.device)
        is_chosen[1 + chosen] = True
        # The keys of the chosen classes, class by class.
        order = is_chosen[1 + self.added].nonzero().flatten()
        order = order[self.added[order].argsort(stable=True)]
        counts = counts[chosen]
        first = counts.cumsum(0) - counts
        distinct = torch.ones_like(counts)
        own = counts.new_zeros(len(counts), dtype=torch.float32)
        gaps = [own[:0]]
        # All classes with equally many examples at once.
        for count in counts.unique().tolist():
            some = (counts == count).nonzero().flatten()
            keys = self.keys[order[first[some, None] + torch.arange(count, device=order.device)]].float()
            cosines = keys @ keys.transpose(1, 2)
            # An example that is given twice would suggest that all examples of the class are alike.
            same = (cosines > SAME).tril(-1).any(dim=2)
            distinct[some] = count - same.sum(dim=1)
            cosines.diagonal(dim1=1, dim2=2).fill_(-1)
            nearest = cosines.masked_fill(same[:, None], -1).amax(dim=2)
            alone = distinct[some, None] == 1
            missing = (self._expected(1, distinct[some] - 1)[:, None] - nearest).masked_fill(same | alone, torch.nan)
            own[some] = missing.nanmedian(dim=1).values.nan_to_num(0)
            gaps.append(missing[~missing.isnan()])
        told = (distinct - 1).float()
        shared = torch.cat(gaps).nanmedian().nan_to_num(0) * told.sum() / (told.sum() + DOUBT)
        known = self.threshold(UNFAMILIAR) if self.is_calibrated else self.shots[0, -1]
        further = (told * own + DOUBT * shared) / (told + DOUBT)
        self.allowances[chosen] = (known - self._expected(0, distinct) + further).clamp(0, 1)

    def _expected(self, row: int, shots: Tensor) -> Tensor:
        """Returns the familiarity of images whose class has so many examples, for more than 20 as for 20."""
        at = shots.new_tensor(SHOTS, dtype=torch.float32).log()
        wanted = shots.clamp(SHOTS[0], SHOTS[-1]).to(at.dtype).log()
        after = torch.searchsorted(at, wanted).clamp_min(1)
        # Between the measured numbers, cosines grow about as the logarithm.
        share = (wanted - at[after - 1]) / (at[after] - at[after - 1])
        return torch.lerp(self.shots[row, after - 1], self.shots[row, after], share)

    def likeness(self, pooled: Tensor, found: Tensor | None = None) -> Tensor:
        """Compares images with taught classes if there are no others, ``[num_images, num_added]``.

        It is the mean of the cosine with the class's nearest key, plus its allowance, and the cosine with its mean
        (J. Snell et al., "Prototypical Networks for Few-shot Learning", 2017). Arguments are those of :meth:`claims`.
        """
        found = self.similarities(pooled) if found is None else found
        # Lengths divide the products, as those are fewer than coordinates.
        lengths = torch.linalg.vector_norm(self.means, dim=1, dtype=torch.float32).clamp_min(1e-12)
        with_means: Tensor = half_products(self.keys_of(pooled), self.means) / lengths
        return (found[:, 1:] + self.allowances + with_means) / 2

    def claims(self, pooled: Tensor, found: Tensor | None = None) -> Tensor:
        """Returns how much each taught class claims images, ``[num_images, num_added]``: positive where it does.

        Args:
            pooled: ``[num_images, channels]``.
            found: Their :meth:`similarities`, if already computed.
        """
        found = self.similarities(pooled) if found is None else found
        return found[:, 1:] + self.offsets - found[:, :1]


def _clusters(keys: Tensor, own: Tensor, number: int) -> tuple[Tensor, Tensor]:
    """Clusters the examples of a class.

    Args:
        keys: ``[num_examples, width]``, of length 1.
        own: ``[num_own]`` int64, the examples of the class.
        number: Largest number of clusters.

    Returns:
        Centres ``[number, width]`` float16, and the example that is nearest to each, ``[number]`` int64.
    """
    of_class = keys[own]
    if len(own) <= number:
        return of_class.half(), own
    first = torch.linspace(0, len(own) - 1, number, dtype=torch.float64, device=own.device).long()
    centres = of_class[first]
    for _ in range(ROUNDS):
        nearest = (of_class @ centres.t()).argmax(dim=1)
        sums = torch.zeros_like(centres).index_add_(0, nearest, of_class)
        # A centre that lost all its examples does not move.
        centres = torch.where(sums.any(dim=1, keepdim=True), F.normalize(sums, dim=1), centres)
    return centres.half(), own[(of_class @ centres.t()).argmax(dim=0)]


def _shots(keys: Tensor, labels: Tensor) -> Tensor:
    """Measures the familiarity of examples to a few others of their class, ``[2, 5]``; see :class:`Memory`."""
    by_class = [keys[labels == number] for number in labels.unique().tolist()]
    found = []
    for count in SHOTS:
        cosines = []
        for own in by_class:
            draws = min(DRAWS, len(own) // (count + 1))
            if draws > 0:  # else there are too few to draw from
                taught, others = own[: draws * count], own[draws * count :][:SOME]
                cosines.append((others @ taught.t()).view(-1, draws, count).amax(dim=2).clamp(-1, 1).flatten())
        if cosines:
            measured = torch.cat(cosines)
            at = measured.new_tensor([UNFAMILIAR, 0.5])
            found.append(torch.quantile(measured[:: 1 + len(measured) // MOST_MEASURED], at))
        else:
            found.append(found[-1] if found else keys.new_zeros(2))
    return torch.stack(found, dim=1)
