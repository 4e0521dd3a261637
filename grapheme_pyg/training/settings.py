"""How to train, as plain values."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import ceil
from typing import Literal, get_args

from grapheme_pyg.checks import as_float, as_int, as_seed

Precision = Literal["32-true", "bf16-mixed", "16-mixed", "64-true"]
Loader = Literal["images", "pyg"]
Device = Literal["auto", "cpu", "cuda"]
Optimizer = Literal["muon", "adamw"]
Loss = Literal["cross_entropy", "structural"]
Part = Literal["dag", "classifier"]
Nonfinite = Literal["stop", "skip"]
Sampling = Literal["uniform", "balanced"]
ClassWeights = None | Literal["auto"] | dict[str, float]
PRECISIONS, LOADERS, DEVICES = get_args(Precision), get_args(Loader), get_args(Device)
OPTIMIZERS, LOSSES, PARTS = get_args(Optimizer), get_args(Loss), get_args(Part)
NONFINITE, SAMPLINGS = get_args(Nonfinite), get_args(Sampling)
# Small sets take smaller steps, and grey ones more passes: epochs and batch size of fewer images, and of as many or
# more, grey and in colour.
SMALL, OF_SMALL, OF_LARGE = 10_000, {False: (40, 64), True: (12, 64)}, {False: (13, 128), True: (30, 128)}
# Very small sets take more passes, up to so many, for as many steps at least.
LEAST_STEPS, MOST_EPOCHS = 150, 100
# Peak of Muon's learning rate, weight decay, smoothing of labels and probability of a mirror image, for grey images and
# those in colour.
KERNEL_LR, WEIGHT_DECAY = {False: 0.02, True: 0.03}, {False: 0.05, True: 0.01}
SMOOTHING, FLIP = {False: 0.0, True: 0.1}, {False: 0.0, True: 0.5}
# What is chosen to suit the images where it is None.
SUITED = frozenset({"epochs", "batch_size", "kernel_lr", "weight_decay", "label_smoothing", "flip"})
# Least values of integers; and rules of other numbers, written so that NaN is out of range.
WHOLE = (("epochs", 1), ("batch_size", 1), ("accumulate", 1), ("num_workers", 0), ("checkpoint_every", 0))
NUMBERS: tuple[tuple[Callable[[float], bool], str, tuple[str, ...]], ...] = (
    (lambda value: value > 0, "a positive number", ("lr", "kernel_lr")),
    (lambda value: value >= 0, "a non-negative number", ("weight_decay", "clip")),
    (lambda value: 0 <= value < 1, "a number in [0, 1)", ("label_smoothing",)),
    (lambda value: 0 <= value <= 1, "a number in [0, 1]", ("averaging", "flip")),
)
# Share of the epochs, the last ones, that are not robust.
CALM = 0.18


@dataclass(frozen=True)
class TrainingSettings:
    """How to train; plain values, which a checkpoint stores.

    Attributes:
        epochs: Passes over the training images; None for 13, or 30 in colour; if there are fewer than 10,000 images
            for 40, or 12 in colour, or as many more, up to 100, as 150 steps take.
        batch_size: Images in a mini-batch, of all processes together; None for 128, or 64 if there are fewer than
            10,000 images.
        accumulate: Mini-batches whose gradients are added up for one optimiser step.
        loss: ``"cross_entropy"`` of the tempered similarities, or ``"structural"``, which has no softmax; see
            :func:`grapheme_pyg.training.losses.structural_losses`. With templates that learn by momentum it learns
            badly: nothing then drives the templates of different classes apart.
        class_weights: Factors for the losses of the classes, where some are rare: None for none; ``"auto"`` for the
            reciprocals of their frequencies; or ``{name: weight}``, 1 for names that are not there.
        sampling: ``"uniform"`` takes every image once in an epoch; ``"balanced"`` takes as many, but the same number of
            each class, those of rare classes several times.
        optimizer: ``"muon"`` for the weights of the DAG, with AdamW for the rest; or ``"adamw"`` for all.
        lr: Peak of AdamW's learning rate in the one-cycle schedule.
        kernel_lr: Peak of Muon's; None for 0.02, or 0.03 in colour.
        weight_decay: On weights of two or more dimensions: not on biases, norms, temperature. None for 0.05, or 0.01 in
            colour.
        label_smoothing: Of the cross-entropy, in [0, 1); None for 0.1 in colour and 0 for grey images.
        averaging: Over which share of the steps so far weights are averaged, in [0, 1]; the average is what is
            validated and what remains. See :class:`grapheme_pyg.training.averaging.MovingAverage`; 0 for none.
        freeze: Parts that stay as they are: ``"dag"``, ``"classifier"``. Their batch statistics stay too.
        clip: Largest norm of the gradient, times the largest of the class weights; 0 for no limit.
        augment: Whether training images are rotated, scaled, sheared, shifted and bent; those in colour are shifted
            and mirrored, and a square of each is hidden.
        robust: Whether training images are also spoilt as cameras and pens do, and graphs lack parts; see
            :class:`grapheme_pyg.augmentation.RandomDegradation` and :class:`grapheme_pyg.augmentation.RandomDropping`.
            If None, which is the default, with ``augment``, if the model takes images relative to their ground.
            Trainings of fewer than 1,000 steps have less of it, in proportion: what is hard to read takes long to
            learn. The last epochs, 2 of 13, have none.
        flip: Probability of a mirror image in augmentation, in [0, 1]; None for 0.5 in colour and 0 for grey images, of
            which many are digits and letters. Say 0 where left and right matter.
        precision: ``"32-true"``; ``"bf16-mixed"`` or ``"16-mixed"`` (autocast, the latter with scaled gradients, whose
            overflowing steps are left out); or ``"64-true"``.
        device: ``"auto"``, ``"cpu"`` or ``"cuda"``.
        loader: ``"images"`` makes the graphs of a whole batch at once; ``"pyg"`` makes them one by one in PyG's
            ``DataLoader``, as a plain PyG project would. Both give the same losses.
        num_workers: Processes that load; 0 loads in this one.
        seed: Of order and augmentation, in 0…4294967295.
        checkpoint_every: Steps of the optimiser between two checkpoints within an epoch; 0 for one after each epoch.
        nonfinite: What a loss or gradient that is NaN or infinite does: ``"stop"`` training, or ``"skip"`` the step,
            with all that its batches did to weights and batch statistics.

    Raises:
        ValueError: A value is out of its range.
    """

    epochs: int | None = None
    batch_size: int | None = None
    accumulate: int = 1
    loss: Loss = "cross_entropy"
    class_weights: ClassWeights = None
    sampling: Sampling = "uniform"
    optimizer: Optimizer = "muon"
    lr: float = 8e-3
    kernel_lr: float | None = None
    weight_decay: float | None = None
    label_smoothing: float | None = None
    averaging: float = 0.2
    freeze: tuple[Part, ...] = ()
    clip: float = 1.0
    augment: bool = True
    robust: bool | None = None
    flip: float | None = None
    precision: Precision = "32-true"
    device: Device = "auto"
    loader: Loader = "images"
    num_workers: int = 0
    seed: int = 0
    checkpoint_every: int = 200
    nonfinite: Nonfinite = "stop"

    def __post_init__(self) -> None:
        for name, minimum in WHOLE:
            if not (name in SUITED and getattr(self, name) is None):
                self._set(name, as_int(name, getattr(self, name), minimum))
        self._set("seed", as_seed(self.seed))
        for holds, expected, names in NUMBERS:
            for name in names:
                if not (name in SUITED and getattr(self, name) is None):
                    self._set(name, as_float(name, getattr(self, name), holds, expected))
        if not isinstance(self.augment, bool):
            raise ValueError(f"augment: expected True or False, got {self.augment!r}")
        if self.robust is not None and not isinstance(self.robust, bool):
            raise ValueError(f"robust: expected True, False or None, got {self.robust!r}")
        for name, choices in (
            ("precision", PRECISIONS),
            ("loader", LOADERS),
            ("device", DEVICES),
            ("optimizer", OPTIMIZERS),
            ("loss", LOSSES),
            ("nonfinite", NONFINITE),
            ("sampling", SAMPLINGS),
        ):
            if not isinstance(getattr(self, name), str) or getattr(self, name) not in choices:
                raise ValueError(f"{name}: expected one of {choices}, got {getattr(self, name)!r}")
        if isinstance(self.class_weights, dict):
            positive = {
                name: as_float(f"class_weights[{name!r}]", weight, lambda value: value > 0, "a positive number")
                for name, weight in self.class_weights.items()
            }
            object.__setattr__(self, "class_weights", positive)
        elif self.class_weights not in (None, "auto"):
            raise ValueError(f"class_weights: expected None, 'auto' or weights by name, got {self.class_weights!r}")
        if self.loss == "structural" and self.label_smoothing:
            raise ValueError(f"label_smoothing: expected 0 with the structural loss, got {self.label_smoothing!r}")
        if not isinstance(self.freeze, tuple) or not set(self.freeze) < set(PARTS):
            raise ValueError(f"freeze: expected a tuple of some of {PARTS}, not all, got {self.freeze!r}")

    def _set(self, name: str, value: float) -> None:
        object.__setattr__(self, name, value)

    @property
    def robust_epochs(self) -> int:
        """How many epochs are robust, if any are: after them, images as they are have the last word."""
        assert self.epochs is not None, "settings: expected those for a number of images"
        return self.epochs - round(CALM * self.epochs)

    def for_images(self, count: int, *, in_colour: bool) -> "TrainingSettings":
        """The same settings, with what suits a number of images, grey or in colour, where nothing was given."""
        epochs, batch_size = (OF_SMALL if count < SMALL else OF_LARGE)[in_colour]
        epochs = max(epochs, min(MOST_EPOCHS, ceil(LEAST_STEPS / ceil(count / batch_size))))
        smoothing = SMOOTHING[in_colour] if self.loss == "cross_entropy" else 0.0
        return replace(
            self,
            epochs=self.epochs or epochs,
            batch_size=self.batch_size or batch_size,
            kernel_lr=self.kernel_lr or KERNEL_LR[in_colour],
            weight_decay=WEIGHT_DECAY[in_colour] if self.weight_decay is None else self.weight_decay,
            label_smoothing=smoothing if self.label_smoothing is None else self.label_smoothing,
            flip=FLIP[in_colour] if self.flip is None else self.flip,
        )
