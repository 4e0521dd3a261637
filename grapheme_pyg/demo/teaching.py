"""Classes that are taught by drawings: what the page does with them, without the page."""

import hashlib
import warnings
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Self

import torch
from PIL import Image, ImageOps
from torch import Tensor

from grapheme_pyg.atomic import PART, replace_file
from grapheme_pyg.datasets.image_reading import read_image
from grapheme_pyg.datasets.mnist_style import SIZE, mnist_style
from grapheme_pyg.errors import ModelFileError, TrainingWarning
from grapheme_pyg.labels import canonical, check_name
from grapheme_pyg.model import ImageClassificationModel
from grapheme_pyg.names import is_name
from grapheme_pyg.nn.memory import UNFAMILIAR, Memory

# Drawings that are shown beside an answer; drawings that a lesson holds; characters of a name.
NEAREST, MOST_DRAWINGS, LONGEST_NAME = 5, 1000, 100
# What names of folders must not have on one system or another.
FORBIDDEN = '/\\:*?"<>|'
# Beside a model. The name tells which keys it belongs to, so that a model never has drawings of another one.
DRAWINGS = "drawings-{}.png"


@dataclass(frozen=True)
class Answer:
    """What is said of a drawing.

    Attributes:
        label: Its class; None if it was refused.
        likeliest: The most probable class, also of what was refused.
        confidence: Probability of that class among those that were taught.
        familiarity: Similarity with the examples.
        threshold: The least familiarity of what is not refused.
        nearest: The most similar examples: class, drawing and cosine, falling.
    """

    label: str | None
    likeliest: str
    confidence: float
    familiarity: float
    threshold: float
    nearest: list[tuple[str, Tensor, float]]


class Lesson:
    """A model that is taught by drawings, and these drawings.

    Args:
        model: Without classes that were trained, and with a calibrated memory of nothing but ``drawings``.
        drawings: Its examples, uint8 ``[28, 28]`` each, in the order of the memory's keys.

    Raises:
        ValueError: The model is another one.
    """

    def __init__(self, model: ImageClassificationModel, drawings: list[Tensor]) -> None:
        memory = model.classifier.memory
        if memory is None or bool(memory.quantiles.isnan().any()):
            raise ValueError("model: expected one with a calibrated memory, as fit leaves it, got one without")
        if len(model.classifier.templates) or bool((memory.added < 0).any()) or len(memory.keys) != len(drawings):
            raise ValueError(f"model: expected one that was taught by {len(drawings)} drawings alone, got another one")
        self.model, self.drawings = model, drawings

    @classmethod
    def of(cls, encoder: ImageClassificationModel) -> Self:
        """A lesson without classes.

        Args:
            encoder: Makes the keys of drawings; it stays as it is.

        Raises:
            ValueError: It has no calibrated memory.
        """
        return cls(encoder.with_classes([]), [])

    @property
    def memory(self) -> Memory:
        """The model's."""
        assert self.model.classifier.memory is not None
        return self.model.classifier.memory

    def examples(self) -> dict[str, list[Tensor]]:
        """The drawings of each class."""
        found: dict[str, list[Tensor]] = {name: [] for name in self.model.classes}
        for drawing, number in zip(self.drawings, self.memory.added.tolist(), strict=True):
            found[self.model.classes[number]].append(drawing)
        return found

    def teach(self, name: str, digit: Tensor) -> str | None:
        """Teaches an example of a class, a new one or one that is there.

        Args:
            name: Of the class.
            digit: As :func:`to_digit` makes it.

        Returns:
            What the library warns of; None if there is nothing.

        Raises:
            ValueError: The name is empty, too long or has control characters, the class has this very drawing, or
                there are 1,000 drawings.
        """
        name = _checked(name)
        if len(self.drawings) >= MOST_DRAWINGS:
            raise ValueError(f"drawings: expected at most {MOST_DRAWINGS:,}, got one more")
        for known, drawings in self.examples().items():
            # Twice the same would say that all drawings of the class are alike, and others would be refused.
            if canonical(known) == canonical(name) and any(torch.equal(digit, drawing) for drawing in drawings):
                raise ValueError(f"drawing: expected one that {known!r} does not have yet, got the same again")
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", TrainingWarning)
            self.model.add_class(name, [digit])
        self.drawings.append(digit)
        said = [str(warning.message) for warning in caught if issubclass(warning.category, TrainingWarning)]
        return said[0] if said else None

    def remove(self, name: str) -> None:
        """Forgets a class.

        Raises:
            ValueError: There is none of that name.
        """
        owners = [self.model.classes[number] for number in self.memory.added.tolist()]
        self.model.remove_class(name)
        pairs = zip(self.drawings, owners, strict=True)
        self.drawings = [drawing for drawing, owner in pairs if owner in self.model.classes]

    def rename(self, name: str, new: str) -> None:
        """Gives a class another name.

        Raises:
            ValueError: There is none of that name, or the new one is taken or no name.
        """
        new = _checked(new)
        if canonical(new) == canonical(name):
            return
        if canonical(new) in map(canonical, self.model.classes):
            raise ValueError(f"new: expected a name that no class has yet, got {new!r}")
        self.model.rename_class(name, new)

    def recognise(self, digit: Tensor) -> Answer:
        """Classifies a drawing, or refuses it.

        Args:
            digit: As :func:`to_digit` makes it.

        Raises:
            ValueError: There are no classes.
        """
        prediction = self.model.predict([digit], reject=UNFAMILIAR)
        cosines, positions = self.model.nearest([digit], min(NEAREST, len(self.drawings)))
        rows = [int((self.memory.positions == position).nonzero()[0]) for position in positions[0]]
        names = [self.model.classes[int(self.memory.added[row])] for row in rows]
        assert prediction.familiarity is not None
        return Answer(
            label=prediction.labels[0],
            likeliest=self.model.classes[int(prediction.probabilities[0].argmax())],
            confidence=float(prediction.confidences[0]),
            familiarity=float(prediction.familiarity[0]),
            threshold=float(self.memory.threshold(UNFAMILIAR)),
            nearest=list(zip(names, [self.drawings[row] for row in rows], cosines[0].tolist(), strict=True)),
        )

    def save(self, folder: Path) -> None:
        """Writes the model and its drawings into a folder, which is made if missing.

        Whatever happens meanwhile, the folder holds the model of before or this one, with its drawings.

        Args:
            folder: As :func:`folder_below` returns it. A lesson that is there is replaced.

        Raises:
            ValueError: There are no classes, or the folder holds something else.
            OSError: A file cannot be written.
        """
        if not self.drawings:
            raise ValueError("classes: expected at least one to save, got none")
        before = list(folder.glob(DRAWINGS.format("*")))
        # What was left by a process that was killed in its first save is nothing.
        if (
            not before
            and folder.exists()
            and not (folder.is_dir() and all(PART.fullmatch(path.name) for path in folder.iterdir()))
        ):
            raise ValueError(f"folder: expected a new one, or one that was saved here, got {folder.name!r}")
        Image.fromarray(torch.cat(self.drawings).numpy()).save(file := BytesIO(), "PNG", optimize=True)
        replace_file(folder / self._file(), file.getvalue())
        self.model.save_pretrained(folder)
        for path in before:
            if path.name != self._file():
                path.unlink(missing_ok=True)

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Reads what :meth:`save` wrote. Files from strangers do no harm.

        Raises:
            FileNotFoundError: A file is missing.
            ValueError: A file is damaged, or of something else.
        """
        model = ImageClassificationModel.from_pretrained(folder)
        memory = model.classifier.memory
        number = 0 if memory is None else len(memory.keys)
        if memory is None or not 0 < number <= MOST_DRAWINGS:
            raise ModelFileError(f"{folder}: expected a model with 1 to {MOST_DRAWINGS:,} drawings, got {number}")
        path = folder / _file_of(memory)
        drawings = read_image(path, 1, max_pixels=MOST_DRAWINGS * SIZE**2)[0]
        if drawings.shape != (number * SIZE, SIZE):
            expected = f"{number} drawings of {SIZE} by {SIZE} pixels, one below the other"
            raise ModelFileError(f"{path}: expected {expected}, got {drawings.shape[1]} by {drawings.shape[0]} pixels")
        return cls(model, list(drawings.split(SIZE)))

    def _file(self) -> str:
        return _file_of(self.memory)


def to_digit(drawing: Image.Image | None) -> Tensor:
    """A drawing as models see it, uint8 ``[28, 28]``.

    Args:
        drawing: Dark on white; None if nothing is drawn.

    Raises:
        ValueError: Nothing is drawn.
    """
    # Strokes may go to the edge of the canvas, where paper is looked for.
    digit = None if drawing is None else mnist_style(ImageOps.expand(drawing, max(drawing.size) // 8, 255))
    if digit is None or not bool(digit.any()):
        raise ValueError("drawing: expected strokes, got none; draw something first")
    return digit


def folder_below(base: Path, name: str) -> Path:
    """The folder of a model, right below another one.

    Args:
        base: The one that all models are saved in.
        name: From whoever uses the page.

    Raises:
        ValueError: The name is not one of a folder there.
    """
    name = canonical(name.strip())
    expected = f"a name of at most {LONGEST_NAME} bytes without any of {FORBIDDEN} that no point begins or ends"
    if (
        not is_name(name)
        or not 0 < len(name.encode()) <= LONGEST_NAME
        or any(character in FORBIDDEN for character in name)
        or name[0] == "."
        or name[-1] == "."
    ):
        raise ValueError(f"folder: expected {expected}, got {name[:LONGEST_NAME]!r}")
    folder = base / name
    # A link could lead out of it.
    if folder.resolve().parent != base.resolve():
        raise ValueError(f"folder: expected one below {base}, got {name!r}, which is a link to another place")
    return folder


def saved_below(base: Path) -> list[str]:
    """Names of the lessons that were saved there."""
    return sorted({path.parent.name for path in base.glob(f"*/{DRAWINGS.format('*')}") if is_name(path.parent.name)})


def _checked(name: str) -> str:
    """The name of a class, or why it is none."""
    name = name.strip()
    check_name("name", name)
    if not 0 < len(name) <= LONGEST_NAME:
        raise ValueError(f"name: expected 1 to {LONGEST_NAME} characters, got {len(name)}")
    return name


def _file_of(memory: Memory) -> str:
    return DRAWINGS.format(hashlib.sha256(memory.keys.numpy().tobytes()).hexdigest()[:16])
