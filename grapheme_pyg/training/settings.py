"""TrainingSettings: how to train, as plain values."""

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from typing import Any, Literal, get_args

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
# Small sets need smaller mini-batches, and small grey ones more epochs. Epochs and batch size for fewer images than
# SMALL and for more, by whether they are in colour.
SMALL, OF_SMALL, OF_LARGE = 10_000, {False: (40, 64), True: (12, 64)}, {False: (13, 128), True: (30, 128)}
# Very small sets are trained on for this many steps at least, if MOST_EPOCHS suffice for that.
LEAST_STEPS, MOST_EPOCHS = 150, 100
# Muon's peak learning rate, weight decay, label smoothing and the probability of a mirror image, by whether images are
# in colour.
KERNEL_LR, WEIGHT_DECAY = {False: 0.02, True: 0.03}, {False: 0.05, True: 0.01}
SMOOTHING, FLIP = {False: 0.0, True: 0.1}, {False: 0.0, True: 0.5}
# Settings that are chosen to suit the images if they are None.
SUITED = frozenset({"epochs", "batch_size", "kernel_lr", "weight_decay", "label_smoothing", "flip"})
# Minimum of each integer, and the rules for other numbers, written so that NaN is out of range.
WHOLE = (("epochs", 1), ("batch_size", 1), ("accumulate", 1), ("num_workers", 0), ("checkpoint_every", 0))
NUMBERS: tuple[tuple[Callable[[float], bool], str, tuple[str, ...]], ...] = (
    (lambda value: value > 0, "a positive number", ("lr", "kernel_lr")),
    (lambda value: value >= 0, "a non-negative number", ("weight_decay", "clip")),
    (lambda value: 0 <= value < 1, "a number in [0, 1)", ("label_smoothing",)),
    (lambda value: 0 <= value <= 1, "a number in [0, 1]", ("averaging", "flip")),
)
# Share of the epochs, at the end, that train on clean images.
CALM = 0.18


@dataclass(frozen=True)
class TrainingSettings:
    """How to train: plain values, which a checkpoint stores.

    Attributes:
        epochs: Passes over the training images. If None, 13 for grey images and 30 for images in colour; with fewer
            than 10,000 images, 40 and 12, or as many as 150 steps take, up to 100.
        batch_size: Images in a mini-batch, over all processes. If None, 128, or 64 with fewer than 10,000 images.
        accumulate: Mini-batches whose gradients are added up for one optimiser step.
        loss: ``"cross_entropy"`` of the similarities times the temperature, or ``"structural"``, which has no softmax;
            see :func:`grapheme_pyg.training.losses.structural_losses`. The structural loss works badly with templates
            that learn by momentum, because nothing then drives the templates of different classes apart.
        class_weights: Factors for the losses of the classes, for use with rare classes: None for no factors, ``"auto"``
            for the reciprocals of the class frequencies, or ``{name: weight}``, with 1 for the other names.
        sampling: ``"uniform"`` takes every image once in an epoch; ``"balanced"`` takes as many images, but the same
            number from each class, so that images of rare classes come several times.
        optimizer: ``"muon"`` for the weights of the DAG, with AdamW for the rest; or ``"adamw"`` for all weights.
        lr: Peak of AdamW's learning rate in the one-cycle schedule.
        kernel_lr: Peak of Muon's learning rate. If None, 0.02 for grey images and 0.03 for images in colour.
        weight_decay: Decay of weights of two or more dimensions; biases, norms and the temperature have none. If None,
            0.05 for grey images and 0.01 for images in colour.
        label_smoothing: Label smoothing of the cross-entropy, in [0, 1). If None, 0 for grey images and 0.1 for images
            in colour.
        averaging: The share of the steps so far over which weights are averaged, in [0, 1]; 0 averages nothing. The
            average is validated and kept. See :class:`grapheme_pyg.training.average.MovingAverage`.
        freeze: Parts that do not change: ``"dag"``, ``"classifier"``. Their batch statistics do not change either.
        clip: Largest norm of the gradient, as a multiple of the largest class weight; 0 for no limit.
        augment: Whether grey training images are rotated, scaled, sheared, shifted and bent, and images in colour are
            shifted and mirrored, with a square of each hidden.
        robust: Whether training images are also degraded as by cameras and pens, and parts of graphs are dropped; see
            :class:`grapheme_pyg.augmentation.RandomDegradation` and :class:`grapheme_pyg.augmentation.RandomDropping`.
            If None, they are if ``augment`` is set and the model takes images relative to their ground. Trainings of
            fewer than 1,000 steps have proportionally less of it, since degraded images take long to learn. The last
            epochs, 2 of 13, have none.
        flip: Probability of a mirror image in augmentation, in [0, 1]. If None, 0.5 for images in colour and 0 for grey
            images, many of which are digits and letters. Use 0 where left and right matter.
        precision: ``"32-true"``; ``"bf16-mixed"`` or ``"16-mixed"`` (autocast, the latter with scaled gradients and
            without the steps that overflow); or ``"64-true"``.
        device: ``"auto"``, ``"cpu"`` or ``"cuda"``.
        loader: ``"images"`` makes the graphs of a whole batch at once; ``"pyg"`` makes them one by one in PyG's
            ``DataLoader``, as a plain PyG project would. Both have the same losses.
        num_workers: Processes that load images; 0 loads them in the training process.
        seed: Seed of the order and the augmentation, in 0…4294967295.
        checkpoint_every: Optimiser steps between checkpoints within an epoch; 0 for one checkpoint after each epoch.
        nonfinite: Whether a loss or gradient that is NaN or infinite should ``"stop"`` training or ``"skip"`` the step,
            with everything that its batches did to weights and batch statistics.

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
        given = {name for name, value in vars(self).items() if value is not None or name not in SUITED}
        for name, minimum in WHOLE:
            if name in given:
                self._set(name, as_int(name, getattr(self, name), minimum))
        self._set("seed", as_seed(self.seed))
        for holds, expected, names in NUMBERS:
            for name in names:
                if name in given:
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
            self._set("class_weights", positive)
        elif self.class_weights not in (None, "auto"):
            raise ValueError(f"class_weights: expected None, 'auto' or weights by name, got {self.class_weights!r}")
        if self.loss == "structural" and self.label_smoothing:
            raise ValueError(f"label_smoothing: expected 0 for the structural loss, got {self.label_smoothing!r}")
        if not isinstance(self.freeze, tuple) or not set(self.freeze) < set(PARTS):
            raise ValueError(f"freeze: expected a tuple of some of {PARTS}, not all of them, got {self.freeze!r}")

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

    def for_images(self, count: int, *, in_colour: bool) -> "SuitedSettings":
        """Returns these settings with values that suit a number of images, grey or in colour, in place of None."""
        epochs, batch_size = (OF_SMALL if count < SMALL else OF_LARGE)[in_colour]
        epochs = max(epochs, min(MOST_EPOCHS, ceil(LEAST_STEPS / ceil(count / batch_size))))
        smoothing = SMOOTHING[in_colour] if self.loss == "cross_entropy" else 0.0
        suited: dict[str, Any] = {
            "epochs": epochs,
            "batch_size": batch_size,
            "kernel_lr": KERNEL_LR[in_colour],
            "weight_decay": WEIGHT_DECAY[in_colour],
            "label_smoothing": smoothing,
            "flip": FLIP[in_colour],
        }
        return SuitedSettings(**(suited | {name: value for name, value in vars(self).items() if value is not None}))


class SuitedSettings(TrainingSettings):
    """Settings that suit a number of images, as :meth:`TrainingSettings.for_images` returns them: none is missing."""

    epochs: int
    batch_size: int
    kernel_lr: float
    weight_decay: float
    label_smoothing: float
    flip: float

    @property
    def robust_epochs(self) -> int:
        """Returns the number of epochs that are robust, if any are. The others, at the end, train on clean images."""
        return self.epochs - round(CALM * self.epochs)
