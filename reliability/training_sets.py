"""Training on odd sets of images: all stays finite, and what was not learned is said."""

import math
import warnings
from functools import cache

import torch
from harness import Check, main
from threads import MODES, images_of
from torch import Generator, Tensor

from grapheme_pyg import ImageClassificationModel, TrainingSettings, VisionBrain, fit
from grapheme_pyg.datasets import Split
from grapheme_pyg.errors import ImageWarning, TrainingWarning

SIZE = (12, 12)
KINDS = ("white", "black", "one grey", "one label", "one class", "imbalanced", "two images", "one image", "copies")


def training_set(kind: str, generator: Generator) -> Split:
    """Images and labels of a kind, of which there are 4 classes; 1 for ``"one class"``."""
    number = {"two images": 2, "one image": 1, "imbalanced": 1001}.get(kind, 9)
    labels = torch.arange(number) % 3
    if kind in ("white", "black", "one grey"):
        value = {"white": 255, "black": 0}.get(kind, int(torch.randint(256, (), generator=generator)))
        return Split(torch.full((number, *SIZE), value, dtype=torch.uint8), labels)
    if kind == "copies":
        return Split(images_of(generator, 1, SIZE).repeat(number, 1, 1), labels)
    if kind == "imbalanced":
        # Of the same few images, so that making their graphs takes no time worth mentioning.
        images = torch.cat([images_of(generator, 8, SIZE).repeat(125, 1, 1), images_of(generator, 1, SIZE)])
        return Split(images, torch.tensor([0] * 1000 + [1]))
    constant = {"one label": 3, "one class": 0}.get(kind)
    return Split(images_of(generator, number, SIZE), labels if constant is None else torch.full_like(labels, constant))


@cache
def vision_of(mode: str) -> VisionBrain:
    return VisionBrain(mode)


def chosen(options: tuple[str, ...], generator: Generator) -> str:
    return options[int(torch.randint(len(options), (), generator=generator))]


def finite(tensors: dict[str, Tensor | None]) -> None:
    wrong = [name for name, value in tensors.items() if value is not None and not bool(value.isfinite().all())]
    assert not wrong, f"expected finite numbers, got others in {wrong}"


def expected_warnings(model: ImageClassificationModel, validation: Split) -> set[str]:
    """What is to be warned of, found in another way than training does it: one class, one pair after the other."""
    predicted = model.predict(validation.images).similarities.argmax(dim=1)
    of_class = [predicted[validation.labels == label] == label for label in range(len(model.classes))]
    found = {"validation"} if any(len(hits) and not hits.any() for hits in of_class) else set()
    templates = model.classifier.templates.detach().double()
    for i, some in enumerate(templates):
        for others in templates[i + 1 :]:
            cosines = torch.nn.functional.cosine_similarity(some[:, None], others[None], dim=-1)
            if bool((cosines > 1 - 1e-6).any()):
                found.add("templates")
    return found


def case(number: int) -> dict[str, float]:
    """A set of a kind, and settings, by number; every kind is met with every mode in 36 numbers.

    Raises:
        AssertionError: Something is not finite, or a warning is missing or should not be there.
    """
    kind, mode = KINDS[number % len(KINDS)], MODES[number // len(KINDS) % len(MODES)]
    generator = Generator().manual_seed(number)
    training = training_set(kind, generator)
    num_classes = 1 if kind == "one class" else 4
    vision, settings = vision_of(mode), settings_of(kind, generator)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(number)
        model = ImageClassificationModel(
            vision,
            num_classes,
            hidden_channels=[4] * (max(vision.node_levels) + 1),
            norm=chosen(("batch", "layer"), generator),
            template_update=chosen(("gradient", "momentum"), generator),
            templates_per_class=2,
        )
    few = Split(training.images[-9:], training.labels[-9:])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", TrainingWarning)
        warnings.simplefilter("ignore", ImageWarning)  # some of the sets are of blank images
        metrics = fit(model, *training, validation=few, settings=settings, verbose=False)
    wrong = [row for row in metrics if not all(math.isfinite(value) for value in row.values())]
    assert not wrong, f"expected finite metrics, got {wrong}"
    finite({name: value for name, value in model.state_dict().items() if isinstance(value, Tensor)})
    warned = {str(one.message).split(":")[0] for one in caught if one.category is TrainingWarning}
    if settings.precision == "32-true":  # in half precision validation may decide a tie the other way
        expected = expected_warnings(model, few)
        assert warned == expected, f"expected warnings of {sorted(expected)}, got {sorted(warned)}"
    model.remember(*few)
    model.calibrate(*few)
    prediction = model.predict(few.images, reject=0.1, views=2)
    finite({name: value for name, value in prediction._asdict().items() if isinstance(value, Tensor)})
    largest = max(float(weight.detach().abs().max()) for weight in model.parameters())
    return {"weight": largest, "loss": max(row["train_loss"] for row in metrics), "warnings": len(warned)}


def settings_of(kind: str, generator: Generator) -> TrainingSettings:
    loss = "cross_entropy" if kind == "one class" else chosen(("cross_entropy", "structural"), generator)
    return TrainingSettings(
        epochs=1 if kind == "imbalanced" else 4,
        batch_size=250 if kind == "imbalanced" else int(chosen(("1", "4"), generator)),
        loss="structural" if loss == "structural" else "cross_entropy",
        optimizer="muon" if chosen(("muon", "adamw"), generator) == "muon" else "adamw",
        precision="bf16-mixed" if chosen(("half", "full", "full"), generator) == "half" else "32-true",
        clip=float(chosen(("0", "1"), generator)),
        augment=chosen(("yes", "no"), generator) == "yes",
        device="cpu",
    )


CHECKS = (
    Check(
        "training_sets",
        "training on empty images, on one class, on 1000 to 1, on one or two images, in every mode, stays finite, "
        "warns of what it did not learn and of nothing else, and leaves a model that can be calibrated and predicts",
        216,
        case,
    ),
)

if __name__ == "__main__":
    raise SystemExit(main(CHECKS))
