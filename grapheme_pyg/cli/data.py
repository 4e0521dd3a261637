"""The data that a command is given by name."""

from dataclasses import replace
from pathlib import Path
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

# Share of the training images that is held out for validation, where they are not a folder of pictures.
VALIDATION_SHARE = 1 / 12


class Part(NamedTuple):
    """Images and their labels, ``[N]`` int64."""

    images: Tensor | ImageFiles
    labels: Tensor

    def limited(self, limit: int | None) -> "Part":
        """So many of them, of each class its share; all if None."""
        if limit is None:
            return self
        chosen = spread(self.labels, limit)
        return Part(self.images[chosen], self.labels[chosen])


class Data(NamedTuple):
    """What to learn from, what to validate with, and what to test with, if there is anything.

    Attributes:
        name: Short, for messages and folders of results.
        classes: Names of the classes, in the order of the labels.
        in_channels: 1, or 3 of images in colour.
        size: The longer side of the images in pixels, to which others are brought.
        white: The level of 16-bit pictures that is white; None if there are none.
        training: What to learn from.
        validation: What to validate with.
        test: What to test with.
        drawings: Whether the images are of single drawings in MNIST's form.
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
    """Loads data.

    Args:
        data: The name of a data set, as of :func:`dataset_names`; or a folder of IDX files, or a folder of pictures as
            :func:`load_image_folder` takes it.
        data_dir: Where the files of a data set with a name are.
        in_channels: 1 or 3; if None, 3 if there is colour.
        limit: How many images to take for training, for validation and for a test, of each class its share; all if
            None.
        size: The longer side that pictures of a folder are brought to; their median, at most 224, if None.
        val: A folder of pictures for validation.
        on_error: What to do about broken pictures of a folder.
        transposed: Whether the images of a data set or of IDX files are stored with rows and columns exchanged.

    Raises:
        ValueError: There is no such set or folder, or fewer images are to be taken than there are classes.
    """
    if limit is not None and limit < 2:
        raise ValueError(f"limit: expected at least 2, got {limit}")
    known = data in dataset_names()
    if known and Path(data).is_dir():
        say(f"{data!r} is taken for the data set, not for the folder of this name: that is ./{data}", error=True)
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
            raise ValueError(f"{name}: expected none for data that are no folder of pictures, got {value}")
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
    """Images to test a model with, labelled by its classes, which are found by their names.

    Of a set and of a folder that has been split it is the part for tests; else the whole folder.

    Args:
        classes: Names of the model's classes.
        size: The longer side that pictures of a folder are brought to; they stay as they are if None.
        white: The level of 16-bit pictures that is white; found out if None.
        data: As of :func:`load`, and so are the others.
        data_dir: See there.
        in_channels: See there.
        limit: See there.
        on_error: See there.
        transposed: See there.

    Raises:
        ValueError: As :func:`load`; or the data have classes that the model has not, or no part for tests.
    """
    if data in dataset_names() or is_idx_folder(data):
        found = _load_split(data, data_dir, transposed)
        if len(found.test.images) == 0:
            raise ValueError(f"data: expected files of test images in {data}, got none")
        images, labels = found.test
        # With channels, three grey images are not one in colour.
        part, names = Part(images[:, None] if images.dim() == 3 else images, labels), found.classes
    else:
        folder = load_image_folder(data, in_channels, on_error=on_error)
        folder = folder.test or folder
        part, names = _part(folder if size is None else folder.resized(size)), folder.classes
        assert isinstance(part.images, ImageFiles)
        part.images.white = white or part.images.white
    numbers = match_classes(names, classes, name="data")
    return Part(part.images, numbers[part.labels]).limited(limit)


def read_drawings(
    model: ImageClassificationModel, file: Path, *, as_mnist: bool, find: bool
) -> list[tuple[Tensor, Box | None]]:
    """Reads what a model is shown of a picture, each with its box: the drawings on a sheet, or the picture as it is.

    Args:
        model: The model.
        file: The picture.
        as_mnist: Whether it is of a single digit, to be made like MNIST's by :func:`mnist_style`.
        find: Whether to look for drawings in it, if the model is of drawings, and it is a sheet.

    Raises:
        OSError: As :func:`read_image`.
        ImageError: As :func:`read_image`; or the sheet is blank.
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
    """Reads the one drawing, as :func:`read_drawings` does.

    Raises:
        OSError: As there.
        ImageError: As there; or there are several drawings.
    """
    found = read_drawings(model, file, as_mnist=as_mnist, find=find)
    if len(found) > 1:
        raise ImageError(f"{file}: expected one drawing, got {len(found)}")
    return found[0][0]


def check_apart(name: str, written: Path, *pictures: Path) -> None:
    """Refuses to write a file over one of the pictures.

    Raises:
        ValueError: It is one of them.
    """
    if written.exists() and any(picture.exists() and written.samefile(picture) for picture in pictures):
        raise ValueError(f"{name}: expected another file than the picture, got {written}")


def default_out(name: str, picture: Path) -> Path:
    """A file of that name in the current folder, unless the picture is there: it would be taken for another one.

    Raises:
        ValueError: The picture is there.
    """
    if picture.absolute().parent.resolve() == Path.cwd():
        raise ValueError(f"out: expected a file to write, as {name} would lie among the pictures; give --out FILE")
    return Path(name)


def _load_split(data: str, data_dir: Path | None, transposed: bool) -> ImageData:
    found = load_dataset(data, data_dir) if data in dataset_names() else load_idx_folder(data)
    return found.transposed() if transposed else found


def _load_part(place: Path, in_channels: int, on_error: str, classes: tuple[str, ...]) -> ImageFolder:
    folder = load_image_folder(place, in_channels, on_error=on_error)
    numbers = match_classes(folder.classes, classes, name="val", whose="the training pictures")
    return replace(folder, labels=numbers[folder.labels], classes=classes)


def _part(folder: ImageFolder) -> Part:
    return Part(folder.images, folder.labels)
