"""Lesson teaches a model classes from drawings. It does not depend on the page."""

import hashlib
import warnings
from copy import deepcopy
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Self

import torch
from PIL import Image, ImageOps
from torch import Tensor

from grapheme_pyg.atomic import put_files, writing
from grapheme_pyg.datasets.image_reading import read_image
from grapheme_pyg.datasets.mnist_style import SIZE, mnist_style
from grapheme_pyg.errors import ModelFileError, TrainingWarning
from grapheme_pyg.labels import canonical, check_name
from grapheme_pyg.model import ImageClassificationModel
from grapheme_pyg.model_folder import CONFIG, PARTS, version_of
from grapheme_pyg.names import is_name
from grapheme_pyg.nn.memory import UNFAMILIAR, Memory
from grapheme_pyg.training.run_lock import alone_in

# Limits: drawings shown with an answer, drawings in a lesson, and characters of a name.
NEAREST, MOST_DRAWINGS, LONGEST_NAME = 5, 1000, 100
# Characters that at least one operating system forbids in the names of folders.
FORBIDDEN = '/\\:*?"<>|'
# File of a drawing beside a model. Its name has a hash of the drawing's key, so that programs that know no drawings can
# add and remove examples.
DRAWING = "drawing-{}.png"
# Seconds to wait for another process that changes the same folder.
PATIENCE = 5


@dataclass(frozen=True)
class Answer:
    """Holds the answer to a drawing.

    Attributes:
        label: Class of the drawing; None if it was refused.
        likeliest: The most probable class, even if the drawing was refused.
        confidence: Probability of that class among the taught classes.
        familiarity: Similarity with the examples.
        threshold: The familiarity below which drawings are refused.
        nearest: The most similar examples, each with class, drawing (None if there is no picture of it) and cosine,
            most similar first.
    """

    label: str | None
    likeliest: str
    confidence: float
    familiarity: float
    threshold: float
    nearest: list[tuple[str, Tensor | None, float]]


class Lesson:
    """Teaches a model from drawings, and keeps the drawings.

    Args:
        model: Model without trained classes, with a calibrated memory.
        drawings: The examples, uint8 ``[28, 28]`` each, in the order of the memory's keys. None for an example without
            a picture, as :meth:`ImageClassificationModel.add_class` and the command ``grapheme teach`` leave it.

    Raises:
        ValueError: The model has no calibrated memory, or has trained classes; or there are not as many drawings as
            examples.
    """

    def __init__(self, model: ImageClassificationModel, drawings: list[Tensor | None]) -> None:
        memory = model.classifier.memory
        if memory is None or not memory.is_calibrated:
            raise ValueError("model: expected one with a calibrated memory, as fit leaves it, got one without")
        if len(model.classifier.templates) or bool((memory.added < 0).any()):
            raise ValueError("model: expected one with taught classes alone, got one with trained classes")
        if len(memory.keys) != len(drawings):
            raise ValueError(f"drawings: expected {len(memory.keys)}, one for each example, got {len(drawings)}")
        self.model, self.drawings = model, drawings
        # Versions of the models that this lesson was opened from or saved as, by folder.
        self._seen: dict[Path, str] = {}

    @classmethod
    def of(cls, encoder: ImageClassificationModel) -> Self:
        """Makes a lesson without classes.

        Args:
            encoder: Model that makes the keys of drawings. It is not changed.

        Raises:
            ValueError: The encoder has no calibrated memory.
        """
        return cls(encoder.with_classes([]), [])

    def copy(self) -> Self:
        """Returns a lesson that can be changed without changing this one. The two share the encoder."""
        model, memory = self.model, self.memory
        shared = [model.vision, model.dag, model.readout, model.classifier.project]
        shared += [memory.center, memory.whitening, memory.shots, memory.quantiles]
        copied = type(self)(deepcopy(model, {id(part): part for part in shared}), list(self.drawings))
        copied._seen = self._seen
        return copied

    @property
    def memory(self) -> Memory:
        """Memory of the model."""
        assert self.model.classifier.memory is not None
        return self.model.classifier.memory

    def examples(self) -> dict[str, list[Tensor | None]]:
        """Returns the drawings of each class, with None for each example without a picture."""
        found: dict[str, list[Tensor | None]] = {name: [] for name in self.model.classes}
        for drawing, number in zip(self.drawings, self.memory.added.tolist(), strict=True):
            found[self.model.classes[number]].append(drawing)
        return found

    def teach(self, name: str, digit: Tensor) -> str | None:
        """Teaches an example of a class, which is added if it is new.

        Args:
            name: Name of the class.
            digit: The example, as made by :func:`to_digit`.

        Returns:
            The library's warning; None if there is none.

        Raises:
            ValueError: The name is empty, too long or has control characters; the class already has this drawing; or
                the lesson is full, with 1,000 drawings.
        """
        name = _checked(name)
        if sum(drawing is not None for drawing in self.drawings) >= MOST_DRAWINGS:
            raise ValueError(f"drawings: expected at most {MOST_DRAWINGS:,}, got one more")
        for known, drawings in self.examples().items():
            # The same drawing twice would make the class look uniform, and its other drawings would be refused.
            pictures = (drawing for drawing in drawings if drawing is not None)
            if canonical(known) == canonical(name) and any(torch.equal(digit, drawing) for drawing in pictures):
                raise ValueError(f"drawing: expected one that {known!r} does not have yet, got the same again")
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", TrainingWarning)
            self.model.add_class(name, [digit])
        self.drawings.append(digit)
        said = [str(warning.message) for warning in caught if issubclass(warning.category, TrainingWarning)]
        return said[0] if said else None

    def remove(self, name: str) -> None:
        """Removes a class and its drawings.

        Raises:
            ValueError: No class has that name.
        """
        owners = [self.model.classes[number] for number in self.memory.added.tolist()]
        self.model.remove_class(name)
        pairs = zip(self.drawings, owners, strict=True)
        self.drawings = [drawing for drawing, owner in pairs if owner in self.model.classes]

    def rename(self, name: str, new: str) -> None:
        """Gives a class another name.

        Raises:
            ValueError: No class has that name, or the new name is taken or invalid.
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
            digit: The drawing, as made by :func:`to_digit`.

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

        If writing is interrupted, the folder holds either the earlier model or this one, with the right drawings.

        Args:
            folder: Folder, as returned by :func:`folder_below`. The model in it is replaced if this lesson was opened
                from it or saved in it, and nothing else has changed it since.

        Raises:
            ValueError: There are no classes; the folder holds something else; or another process is changing it.
            OSError: A file cannot be written.
        """
        if not self.drawings:
            raise ValueError("classes: expected at least one to save, got none")
        self._check_ours(folder)  # before locking it, which makes it
        with alone_in(folder, patience=PATIENCE):
            self._check_ours(folder)
            files = _files_of(self.memory)
            pairs = zip(files, self.drawings, strict=True)
            new = {name: _as_png(it) for name, it in pairs if it is not None and not (folder / name).exists()}
            with writing(folder):
                put_files(folder, new)
            self.model.save_pretrained(folder)
            self._seen[folder] = version_of(folder)
            for path in folder.glob(DRAWING.format("[0-9a-f]" * 16)):
                if path.name not in files:
                    path.unlink()

    def _check_ours(self, folder: Path) -> None:
        """Refuses to replace what this lesson was neither opened from nor saved as."""
        if not folder.exists() or (folder.is_dir() and all(PARTS.fullmatch(path.name) for path in folder.iterdir())):
            return
        if folder not in self._seen or not (folder / CONFIG).exists() or self._seen[folder] != version_of(folder):
            expected = "a new name, or that of a model that was opened or saved here and has not changed since"
            raise ValueError(f"folder: expected {expected}, got {folder.name!r}; choose another name, or open it first")

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Reads a lesson that :meth:`save` wrote, or a model with taught classes alone. Files may be from strangers.

        Raises:
            FileNotFoundError: A file of the model is missing.
            ValueError: A file is damaged; the model has trained classes; or it has more than 1,000 drawings.
        """
        version = version_of(folder)
        model = ImageClassificationModel.from_pretrained(folder)
        files = [] if model.classifier.memory is None else _files_of(model.classifier.memory)
        known = {name: folder / name for name in files if (folder / name).exists()}
        if len(known) > MOST_DRAWINGS:
            raise ModelFileError(f"{folder}: expected at most {MOST_DRAWINGS:,} drawings, got {len(known):,}")
        drawings = {name: _read_drawing(path) for name, path in known.items()}
        lesson = cls(model, [drawings.get(name) for name in files])
        lesson._seen[folder] = version
        return lesson


def to_digit(drawing: Image.Image | None) -> Tensor:
    """Converts a drawing to the form that models read, uint8 ``[28, 28]``.

    Args:
        drawing: Drawing, dark on white; None if nothing is drawn.

    Raises:
        ValueError: Nothing is drawn.
    """
    # The brightness of the paper is measured at the edge, which strokes may reach, so a margin is added.
    digit = None if drawing is None else mnist_style(ImageOps.expand(drawing, max(drawing.size) // 8, 255))
    if digit is None or not bool(digit.any()):
        raise ValueError("drawing: expected strokes, got none; draw something first")
    return digit


def folder_below(base: Path, name: str) -> Path:
    """Returns the folder of a model, directly inside ``base``.

    Args:
        base: Folder in which all models are saved.
        name: Name of the model. It is not trusted, because users of the page choose it.

    Raises:
        ValueError: The name is not allowed, or it is a link to another place.
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
    # A link could lead out of the base folder.
    if folder.resolve().parent != base.resolve():
        raise ValueError(f"folder: expected one below {base}, got {name!r}, which is a link to another place")
    return folder


def saved_below(base: Path) -> list[str]:
    """Returns the names of the models that are saved in ``base``, sorted."""
    return sorted(path.parent.name for path in base.glob(f"*/{CONFIG}") if is_name(path.parent.name))


def _checked(name: str) -> str:
    """Returns the name of a class without surrounding spaces; raises ValueError if it is invalid."""
    name = name.strip()
    check_name("name", name)
    if not 0 < len(name) <= LONGEST_NAME:
        raise ValueError(f"name: expected 1 to {LONGEST_NAME} characters, got {len(name)}")
    return name


def _files_of(memory: Memory) -> list[str]:
    """Returns the name of the file of each key's drawing."""
    return [DRAWING.format(hashlib.sha256(key.numpy().tobytes()).hexdigest()[:16]) for key in memory.keys]


def _as_png(drawing: Tensor) -> bytes:
    Image.fromarray(drawing.numpy()).save(content := BytesIO(), "PNG")
    return content.getvalue()


def _read_drawing(path: Path) -> Tensor:
    drawing = read_image(path, 1, max_pixels=SIZE**2)[0]
    if drawing.shape != (SIZE, SIZE):
        came = f"{drawing.shape[1]} by {drawing.shape[0]}"
        raise ModelFileError(f"{path}: expected a drawing of {SIZE} by {SIZE} pixels, got {came}")
    return drawing
