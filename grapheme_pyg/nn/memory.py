"""Memory: a few keys of training images and those of taught classes, to compare new images with."""

from collections.abc import Callable, Iterator
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Variance that is added in every direction before whitening, as a share of the mean variance.
SHRINKAGE = 0.1
# Keys have at most so many channels; there are at most so many of training images, of each class its share.
WIDTH, NUM_KEYS = 256, 1000
# Rounds of k-means, in which cosines of training images with their keys hardly grow any more.
ROUNDS = 8
# Of training images, the share that a new class may claim, and the share that counts as less familiar than known.
CLAIMED, UNFAMILIAR = 0.005, 0.05
QUANTILES = 1001
# How many examples a class is thought to be taught from, where it is measured how familiar others of it are then.
SHOTS = (1, 2, 5, 10, 20)
# In so many draws, each with so many others of the class; and cosines that a quantile is taken of, at most.
DRAWS, SOME, MOST_MEASURED = 20, 500, 2**20
# Taught classes are believed as far as they have more examples than so many: each about itself, all about all.
DOUBT = 5
# Two examples are the same if their cosine differs from 1 by rounding alone: stored keys have three digits.
SAME = 1 - 1e-3
# Cosines computed at once; beyond so many keys they are multiplied as they are stored, which is faster.
COSINES_AT_ONCE, MANY_KEYS = 2**24, 10_000


class Memory(nn.Module):
    r"""Nearest keys, in a space in which classes are round.

    Pooled states :math:`p` become keys

    .. math:: k = \frac{W (p - \mu)}{\lVert \cdot \rVert}

    where :math:`W` holds the widest directions of :math:`(\Sigma + \lambda I)^{-1/2}`, with the covariance
    :math:`\Sigma` within classes. This makes cosines those of Mahalanobis distance (Lee et al., "A Simple Unified
    Framework for Detecting Out-of-Distribution Samples", 2018). An image is as familiar as its nearest key is similar
    (Sun et al., "Out-of-Distribution Detection with Deep Nearest Neighbors", 2022). Of many training images, the keys
    are centres of clusters, found for each class by k-means on the sphere (I. Dhillon and D. Modha, "Concept
    Decompositions for Large Sparse Text Data Using Clustering", 2001).

    A class can be taught from a few examples, each a key. It claims an image if its nearest key, plus an offset, is
    more similar than the nearest key of training images. The offset is such that it would claim a small share of
    these: few examples lie further from their class than many, and would claim too little without it. For the same
    reason an allowance is added to its cosines where they say how familiar an image is: as much as classes of training
    would need if so few of their images were known, and what the examples say of each other, the more of it the more
    they are. What all taught classes say together counts for each of them: drawings of another kind than those of
    training are less alike.

    Its tensors keep their precision whatever that of the model.

    Args:
        channels: Width of pooled states.
        width: Of keys.
        num_keys: How many there are.
        num_added: Classes that were taught.

    Shapes:
        - **keys**: ``[num_keys, width]`` float16, of length 1
        - **added**: ``[num_keys]`` int64: −1 for keys of training images, else the number of the taught class
        - **positions**: ``[num_keys]`` int64: which of the remembered images is nearest to it
        - **total**: ``[]`` int64, how many images there were
        - **offsets**, **allowances**: ``[num_added]``
        - **means**: ``[num_added, width]`` float16, of length 1, the mean direction of each taught class's keys
        - **shots**: ``[2, 5]``, least familiarity but for a share, and its median, of images whose class is known from
          1, 2, 5, 10 and 20 others
        - **quantiles**: ``[1001]``, of the familiarity of images that are known to be of a known kind; NaN until
          calibrated
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
        # Cosines to three digits are all that is asked of them, and there can be many.
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

    # Half precision, which a model may be put into, would blur what is compared; double would quadruple the keys.
    # All of `to`, `half`, `double` and `cuda` go through this method.
    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        nn.Module._apply(self, lambda tensor: fn(tensor).to(tensor.dtype), recurse)
        return self

    @property
    def num_added(self) -> int:
        """Number of taught classes."""
        return self.offsets.numel()

    def examples(self) -> list[int]:
        """The number of examples of each taught class."""
        counts: list[int] = torch.bincount(self.added[self.added >= 0], minlength=self.num_added).tolist()
        return counts

    def check(self) -> None:
        """Refuses a memory from a file that contradicts itself.

        Raises:
            ValueError: A key is of no class, or a class is without a key.
        """
        classes = [number for number in self.added.unique().tolist() if number != -1]
        if classes != list(range(self.num_added)):
            expected = f"keys of training images (-1) and of each of {self.num_added} added classes"
            raise ValueError(f"classifier.memory.added: expected {expected}, got those of {str(classes)[:100]}")

    @classmethod
    @torch.no_grad()
    def of(cls, pooled: Tensor, labels: Tensor, positions: Tensor | None = None, total: int | None = None) -> Self:
        """Remembers examples of the classes that a model was trained on.

        Args:
            pooled: ``[num_examples, channels]``.
            labels: ``[num_examples]`` int64, in [0, num_classes).
            positions: ``[num_examples]`` int64, theirs among all images; they are all if None.
            total: How many images there are.
        """
        positions = torch.arange(len(labels), device=labels.device) if positions is None else positions
        states = pooled.double()
        counts = torch.bincount(labels)
        means = states.new_zeros(counts.numel(), states.shape[1]).index_add_(0, labels, states)
        means /= counts.clamp_min(1)[:, None]
        center = means[counts > 0].mean(dim=0)
        within = states - means[labels]
        variances, axes = torch.linalg.eigh(within.t() @ within / len(states))
        # The least variance keeps keys finite where each class has one example.
        spread = variances.clamp_min(0) + SHRINKAGE * variances.mean() + 1e-12
        whitening = axes / spread.sqrt()
        # Fewer images say nothing of most directions, of which any choice would be arbitrary.
        if len(states) > whitening.shape[1] > WIDTH:
            round_ = (states - center) @ whitening
            whitening = whitening @ torch.linalg.eigh(round_.t() @ round_)[1][:, -WIDTH:]
        memory = cls(*whitening.shape).to(pooled.device)
        memory.center = center.float()
        memory.whitening = whitening.float().contiguous()  # as it is loaded, to the last bit
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
        """A memory of no images in the same space, with the same measures of what is familiar."""
        empty = type(self)(*self.whitening.shape).to(self.keys.device)
        empty.center, empty.whitening = self.center.clone(), self.whitening.clone()
        empty.shots, empty.quantiles = self.shots.clone(), self.quantiles.clone()
        return empty

    def keys_of(self, pooled: Tensor) -> Tensor:
        """Keys of pooled states, ``[num_images, width]`` of length 1."""
        return F.normalize((pooled.float() - self.center) @ self.whitening, dim=-1)

    def _cosines(self, keys: Tensor) -> Iterator[Tensor]:
        """Cosines of some images at a time with all keys, ``[some, num_keys]``."""
        many = len(self.keys) > MANY_KEYS
        stored = self.keys if many else self.keys.float()
        keys = keys.to(stored.dtype)
        at_once = max(1, COSINES_AT_ONCE // max(1, len(stored)))
        # Exported programs do not know how many images will come, and have no loops.
        for rows in (keys,) if torch.compiler.is_exporting() else keys.split(at_once):
            yield (rows @ stored.t()).float()

    @torch.no_grad()
    def nearest(self, pooled: Tensor, number: int = 1) -> tuple[Tensor, Tensor]:
        """The keys that are nearest to images.

        Args:
            pooled: ``[num_images, channels]``.
            number: Of keys for each image.

        Returns:
            Cosines ``[num_images, number]``, falling, and the positions of the images that the keys stand for, of the
            same shape.
        """
        found = [cosines.topk(number, dim=1) for cosines in self._cosines(self.keys_of(pooled))]
        # Rounded keys are a little longer or shorter than 1.
        cosines = torch.cat([values for values, _ in found]).clamp(-1, 1)
        return cosines, self.positions[torch.cat([places for _, places in found])]

    @torch.no_grad()
    def similarities(self, pooled: Tensor) -> Tensor:
        """Cosine with the nearest key of training images, −1 if there is none, and with that of each taught class.

        Args:
            pooled: ``[num_images, channels]``.

        Returns:
            ``[num_images, 1 + num_added]``.
        """
        found = []
        for cosines in self._cosines(self.keys_of(pooled)):
            # Not `len`, which would be one number in exported programs.
            best = cosines.new_full((cosines.shape[0], 1 + self.num_added), -1.0)
            owners = (self.added + 1).expand(cosines.shape[0], -1)
            found.append(best.scatter_reduce_(1, owners, cosines, "amax").clamp_(-1, 1))
        return torch.cat(found)

    def familiarity(self, pooled: Tensor, found: Tensor | None = None) -> Tensor:
        """Cosine with the nearest key of any class, plus its allowance if it was taught, ``[num_images]``.

        Args:
            pooled: ``[num_images, channels]``.
            found: Their :meth:`similarities`, if they are known already.
        """
        found = self.similarities(pooled) if found is None else found
        return (found + F.pad(self.allowances, (1, 0))).amax(dim=1).clamp(-1, 1)

    @torch.no_grad()
    def measure(self, pooled: Tensor, labels: Tensor) -> None:
        """Learns how familiar images are whose class is known from few others.

        Args:
            pooled: ``[num_examples, channels]``, many of each class, if not of all classes.
            labels: ``[num_examples]`` int64, from 0 on.
        """
        self.shots = _shots(self.keys_of(pooled), labels)

    @torch.no_grad()
    def calibrate(self, pooled: Tensor) -> None:
        """Learns how familiar known images are, from some that were not remembered: ``[num_images, channels]``."""
        at = torch.linspace(0, 1, QUANTILES, dtype=torch.float32, device=pooled.device)
        # Allowances are relative to what is known, of which some may be images of taught classes.
        for _ in range(2):
            self._allow()
            self.quantiles = torch.quantile(self.familiarity(pooled), at)

    def threshold(self, reject: float) -> Tensor:
        """The familiarity that a share ``reject`` of known images does not reach."""
        return torch.quantile(self.quantiles, reject)

    @torch.no_grad()
    def add(self, pooled: Tensor, number: int | None = None) -> None:
        """Remembers examples of a class, ``[num_examples, channels]``: of a new one, or of that number."""
        number = self.num_added if number is None else number
        new = self.keys_of(pooled).half()
        self.keys = torch.cat([self.keys, new])
        self.added = torch.cat([self.added, self.added.new_full((len(new),), number)])
        self.positions = torch.cat([self.positions, self.total + torch.arange(len(new), device=new.device)])
        self.total += len(new)
        if number == self.num_added:
            self.offsets = torch.cat([self.offsets, self.offsets.new_zeros(1)])
            self.allowances = torch.cat([self.allowances, self.allowances.new_zeros(1)])
            self.means = torch.cat([self.means, self.means.new_zeros(1, self.means.shape[1])])
        self._measure(number)

    @torch.no_grad()
    def remove(self, number: int) -> None:
        """Forgets a taught class; the numbers of those after it become smaller by one."""
        kept = self.added != number
        self.keys, self.positions, added = self.keys[kept], self.positions[kept], self.added[kept]
        self.added = added - (added > number).long()
        others = torch.arange(self.num_added, device=added.device) != number
        self.offsets, self.allowances, self.means = self.offsets[others], self.allowances[others], self.means[others]
        self._allow()

    def _measure(self, number: int) -> None:
        """Sets mean and offset of a taught class by its examples, and the allowances of all."""
        old, new = self.keys[self.added < 0].float(), self.keys[self.added == number].float()
        self.means[number] = F.normalize(new.mean(dim=0), dim=0).half()
        if len(old):
            # Each compared with all others: the nearest to it is itself.
            others = (old @ old.t()).fill_diagonal_(-1)
            gains = (old @ new.t()).amax(dim=1) - others.amax(dim=1)
            self.offsets[number] = -torch.quantile(gains, 1 - CLAIMED)
        self._allow()

    def _allow(self) -> None:
        """Sets how much less familiar images of each taught class may be."""
        counts = torch.tensor(self.examples(), dtype=torch.int64, device=self.added.device)
        first = int((self.added < 0).sum()) + counts.cumsum(0) - counts
        order = self.added.argsort(stable=True)
        distinct = torch.ones_like(counts)
        own = torch.zeros_like(self.allowances)
        gaps = [own[:0]]
        # Classes of as many examples at once.
        for count in counts.unique().tolist():
            some = (counts == count).nonzero().flatten()
            keys = self.keys[order[first[some, None] + torch.arange(count, device=order.device)]].float()
            cosines = keys @ keys.transpose(1, 2)
            # The same example twice would say that all examples of the class are alike.
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
        known = self.shots[0, -1] if bool(self.quantiles.isnan().any()) else self.threshold(UNFAMILIAR)
        further = (told * own + DOUBT * shared) / (told + DOUBT)
        self.allowances = (known - self._expected(0, distinct) + further).clamp(0, 1)

    def _expected(self, row: int, shots: Tensor) -> Tensor:
        """How familiar images are whose class is known from so many others; as of 20 beyond."""
        at = shots.new_tensor(SHOTS, dtype=torch.float32).log()
        wanted = shots.float().clamp(SHOTS[0], SHOTS[-1]).log()
        after = torch.searchsorted(at, wanted).clamp_min(1)
        # Between those measured, cosines grow about as the logarithm does.
        share = (wanted - at[after - 1]) / (at[after] - at[after - 1])
        return torch.lerp(self.shots[row, after - 1], self.shots[row, after], share)

    @torch.no_grad()
    def likeness(self, pooled: Tensor, found: Tensor | None = None) -> Tensor:
        """How much images are like each taught class, if there are no others, ``[num_images, num_added]``.

        The mean of the cosines with its nearest key and with the mean of its keys (J. Snell et al., "Prototypical
        Networks for Few-shot Learning", 2017), plus its allowance; arguments as of :meth:`claims`.
        """
        found = self.similarities(pooled) if found is None else found
        with_means = self.keys_of(pooled) @ self.means.float().t()
        return (found[:, 1:] + with_means) / 2 + self.allowances

    @torch.no_grad()
    def claims(self, pooled: Tensor, found: Tensor | None = None) -> Tensor:
        """How much each taught class claims images: positive where it does, ``[num_images, num_added]``.

        Args:
            pooled: ``[num_images, channels]``.
            found: Their :meth:`similarities`, if they are known already.
        """
        found = self.similarities(pooled) if found is None else found
        return found[:, 1:] + self.offsets - found[:, :1]


def _clusters(keys: Tensor, own: Tensor, number: int) -> tuple[Tensor, Tensor]:
    """Centres of clusters of a class, and which of all keys is nearest to each.

    Args:
        keys: ``[num_examples, width]``, of length 1.
        own: ``[num_own]`` int64, which of them are of the class.
        number: Of clusters, at most.

    Returns:
        ``[number, width]`` float16, and ``[number]`` int64.
    """
    of_class = keys[own]
    if len(own) <= number:
        return of_class.half(), own
    first = torch.linspace(0, len(own) - 1, number, dtype=torch.float64, device=own.device).long()
    centres = of_class[first]
    for _ in range(ROUNDS):
        nearest = (of_class @ centres.t()).argmax(dim=1)
        sums = torch.zeros_like(centres).index_add_(0, nearest, of_class)
        # One that lost all of its examples stays where it is.
        centres = torch.where(sums.any(dim=1, keepdim=True), F.normalize(sums, dim=1), centres)
    return centres.half(), own[(of_class @ centres.t()).argmax(dim=0)]


def _shots(keys: Tensor, labels: Tensor) -> Tensor:
    """How familiar examples are to a few others of their class, ``[2, 5]``; see :class:`Memory`."""
    by_class = [keys[labels == number] for number in labels.unique().tolist()]
    found = []
    for count in SHOTS:
        cosines = []
        for own in by_class:
            draws = min(DRAWS, len(own) // (count + 1))
            if draws > 0:  # of too few, nothing is known
                taught, others = own[: draws * count], own[draws * count :][:SOME]
                cosines.append((others @ taught.t()).view(-1, draws, count).amax(dim=2).clamp(-1, 1).flatten())
        if cosines:
            measured = torch.cat(cosines)
            at = measured.new_tensor([UNFAMILIAR, 0.5])
            found.append(torch.quantile(measured[:: 1 + len(measured) // MOST_MEASURED], at))
        else:
            found.append(found[-1] if found else keys.new_zeros(2))
    return torch.stack(found, dim=1)
