"""Loads the data and pictures that commands name."""

from dataclasses import replace
from pathlib import Path
from shlex import quote
from typing import NamedTuple

from torch import Tensor

from grapheme_pyg.datasets import (
    ImageData,
    ImageFiles,
    ImageFolder,
    dataset_names,
    load_dataset,
    load_idx_folder,
    load_image_folder,
    mnist_style,
    read_image,
)
from grapheme_pyg.datasets.idx import is_idx_folder
from grapheme_pyg.errors import ImageError
from grapheme_pyg.labels import match_classes, spread
from grapheme_pyg.model import ImageClassificationModel
from grapheme_pyg.names import say
from grapheme_pyg.sheets import drawings_on, is_sheet
from grapheme_pyg.vision.drawings import Box
from grapheme_pyg.vision.pixels import to_channels

# Share of the training images that is held out for validation, unless they are a folder of pictures.
VALIDATION_SHARE = 1 / 12


class Part(NamedTuple):
    """Images and their labels, ``[N]`` int64."""

    images: Tensor | ImageFiles
    labels: Tensor

    def limited(self, limit: int | None) -> "Part":
        """Returns ``limit`` of the images, with the same proportions of classes; all if None."""
        if limit is None:
            return self
        chosen = spread(self.labels, limit)
        return Part(self.images[chosen], self.labels[chosen])


class Data(NamedTuple):
    """Training, validation and test images.

    Attributes:
        name: A short name, for messages and folders of results.
        classes: Names of the classes, in the order of the labels.
        in_channels: 1 for grey images, 3 for images in colour.
        size: The longer side of the images in pixels.
        white: The level that is white in 16-bit pictures; None if there are none.
        training: The training images.
        validation: The validation images.
        test: The test images; None if there are none.
        drawings: Whether each image shows a single drawing in MNIST's form.
    """

    name: str
    classes: list[str]
    in_channels: int
    size: int
    white: int | None
    training: Part
    validation: Part
    test: Part | None
    drawings: bool = False


def load(
    data: str,
    data_dir: Path | None,
    in_channels: int | None,
    limit: int | None = None,
    *,
    size: int | None = None,
    val: Path | None = None,
    on_error: str = "raise",
    transposed: bool = False,
) -> Data:
    """Loads training, validation and test images.

    Args:
        data: The name of a data set, one of :func:`dataset_names`; a folder of IDX files; or a folder of pictures in a
            layout that :func:`load_image_folder` accepts.
        data_dir: The folder of a named data set's files.
        in_channels: 1 or 3; if None, 3 if the images are in colour and 1 otherwise.
        limit: The number of images for training, for validation and for testing each, with the same proportions of
            classes; all if None.
        size: The longer side, in pixels, to which a folder's pictures are scaled; their median, at most 224, if None.
        val: A folder of pictures for validation.
        on_error: How to treat a folder's broken pictures, as in :func:`load_image_folder`.
        transposed: Whether to exchange rows and columns of the images of a data set or of IDX files.

    Raises:
        ValueError: There is no such data set or folder, or ``limit`` is below the number of classes.
    """
    if limit is not None and limit < 2:
        raise ValueError(f"limit: expected at least 2, got {limit}")
    _check_exists(data)
    known = data in dataset_names()
    if known and Path(data).is_dir():
        say(f"warning: {data!r} is taken for the data set, not for the folder of this name; use ./{data}", error=True)
    if not known and not is_idx_folder(data):
        folder = load_image_folder(data, in_channels or 3, on_error=on_error)
        if in_channels is None and not folder.in_colour():
            folder = folder.with_channels(1)
        in_channels = folder.images.in_channels
        if val is not None:
            if val.exists() and val.samefile(data):
                raise ValueError(f"val: expected another folder than that of the training pictures, got {val}")
            held_out = _load_part(val, in_channels, on_error, folder.classes)
            held_out.images.white = folder.images.white
            folder = replace(folder, validation=held_out)
        size = folder.typical_size() if size is None else size
        folder, white = folder.resized(size), folder.images.white
        training, validation = (_part(some).limited(limit) for some in folder.split())
        test = None if folder.test is None else _part(folder.test).limited(limit)
        name = Path(data).resolve().name
        return Data(name, list(folder.classes), in_channels, size, white, training, validation, test)
    for name, value in (("val", val), ("size", size)):
        if value is not None:
            raise ValueError(f"{name}: expected none, as the data are not a folder of pictures, got {value}")
    found = _load_split(data, data_dir, transposed)
    images, labels = found.train
    kept = len(images) - max(1, round(VALIDATION_SHARE * len(images)))
    training, validation = Part(images[:kept], labels[:kept]), Part(images[kept:], labels[kept:])
    return Data(
        found.name,
        list(found.classes),
        in_channels or (3 if images.dim() == 4 and images.shape[1] == 3 else 1),
        max(images.shape[-2:]),
        None,
        training.limited(limit),
        validation.limited(limit),
        Part(*found.test).limited(limit) if len(found.test.images) else None,
        found.drawings,
    )


def load_test(
    data: str,
    classes: list[str],
    data_dir: Path | None,
    in_channels: int,
    limit: int | None = None,
    *,
    size: int | None = None,
    white: int | None = None,
    on_error: str = "raise",
    transposed: bool = False,
) -> Part:
    """Loads test images for a model, with labels of the model's classes, which are matched by name.

    They are the test images of a data set or of a folder that is split into parts; otherwise the whole folder.

    Args:
        data: The data, and all other arguments that are not described here, as in :func:`load`.
        classes: Names of the model's classes.
        data_dir: See :func:`load`.
        in_channels: See :func:`load`.
        limit: See :func:`load`.
        size: The longer side, in pixels, to which a folder's pictures are scaled; None keeps their sizes.
        white: The level that is white in 16-bit pictures; determined from the pictures if None.
        on_error: See :func:`load`.
        transposed: See :func:`load`.

    Raises:
        ValueError: The data cannot be loaded, as in :func:`load`; they have a class that the model lacks; or they have
            no test images.
    """
    _check_exists(data)
    if data in dataset_names() or is_idx_folder(data):
        found = _load_split(data, data_dir, transposed)
        if len(found.test.images) == 0:
            raise ValueError(f"data: expected files of test images in {data}, got none")
        images, labels = found.test
        # With a dimension for channels, three grey images cannot be taken for one in colour.
        part, names = Part(images[:, None] if images.dim() == 3 else images, labels), found.classes
    else:
        folder = load_image_folder(data, in_channels, on_error=on_error)
        folder = folder.test or folder
        part, names = _part(folder if size is None else folder.resized(size)), folder.classes
        assert isinstance(part.images, ImageFiles)
        part.images.white = white or part.images.white
    numbers = match_classes(names, classes, name="data")
    return Part(part.images, numbers[part.labels]).limited(limit)


def load_taught(model: Path) -> ImageClassificationModel:
    """Loads a model that has classes.

    Raises:
        OSError: The model cannot be read, as in :meth:`ImageClassificationModel.from_pretrained`.
        ValueError: The model is damaged, or has no classes yet.
    """
    network = ImageClassificationModel.from_pretrained(model)
    if not network.classes:
        out = "" if model.exists() else " --out FOLDER"
        example = f"grapheme teach {quote(str(model))}{out} --name NAME PICTURES"
        raise ValueError(f"model: expected one with classes, got none; teach it some first: {example}")
    return network


def read_drawings(
    model: ImageClassificationModel, file: Path, *, as_mnist: bool, find: bool
) -> list[tuple[Tensor, Box | None]]:
    """Reads the images that a picture holds for a model: the drawings on a sheet with their boxes, or the picture.

    Args:
        model: The model.
        file: The picture.
        as_mnist: Whether the picture shows a single digit, to be brought into MNIST's form by :func:`mnist_style`.
        find: Whether to look for drawings, if the model is for drawings and the picture is a sheet.

    Raises:
        OSError: The file does not exist or may not be read.
        ImageError: The file is invalid, as in :func:`read_image`, or the sheet is blank.
    """
    vision = model.vision
    size = None if as_mnist or (find and model.drawings) else vision.longer_side
    image = read_image(file, vision.in_channels, size=size, white=vision.white)
    found: list[tuple[Tensor, Box | None]]
    if as_mnist:
        pixels = mnist_style(image)
        found = [(to_channels(pixels[None], vision.in_channels), None)] if pixels.any() else []
    elif find and model.drawings and is_sheet(image, vision):
        found = [*drawings_on(image, vision)]
    else:
        return [(image, None)]
    if not found:
        raise ImageError(f"{file}: expected a drawing, got a blank sheet")
    return found


def read_drawing(model: ImageClassificationModel, file: Path, *, as_mnist: bool, find: bool) -> Tensor:
    """Reads a picture with a single drawing; see :func:`read_drawings`.

    Raises:
        OSError: The file does not exist or may not be read.
        ImageError: The file is invalid, the sheet is blank, or there are several drawings.
    """
    found = read_drawings(model, file, as_mnist=as_mnist, find=find)
    if len(found) > 1:
        raise ImageError(f"{file}: expected one drawing, got {len(found)}")
    return found[0][0]


def _check_exists(data: str) -> None:
    if data not in dataset_names() and not Path(data).exists():
        raise ValueError(f"data: expected a folder or one of {', '.join(dataset_names())}, got {data!r}")


def _load_split(data: str, data_dir: Path | None, transposed: bool) -> ImageData:
    found = load_dataset(data, data_dir) if data in dataset_names() else load_idx_folder(data)
    return found.transposed() if transposed else found


def _load_part(place: Path, in_channels: int, on_error: str, classes: tuple[str, ...]) -> ImageFolder:
    folder = load_image_folder(place, in_channels, on_error=on_error)
    numbers = match_classes(folder.classes, classes, name="val", whose="the training pictures")
    return replace(folder, labels=numbers[folder.labels], classes=classes)


def _part(folder: ImageFolder) -> Part:
    return Part(folder.images, folder.labels)
