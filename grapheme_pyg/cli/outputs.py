"""Chooses the files that commands write, and refuses those that would replace an input."""

from pathlib import Path

from grapheme_pyg.model_folder import files_of
from grapheme_pyg.weights import find_pretrained


def check_output(name: str, written: Path, model: Path, *pictures: Path) -> None:
    """Refuses to write a file where it cannot be, or over an input.

    Args:
        name: Name of the argument.
        written: The file to write.
        model: Folder of the model, or the name of one that comes with the package.
        pictures: The pictures that are read.

    Raises:
        ValueError: The file to write is a folder, in a folder that does not exist, a file of a model, or one of the
            pictures.
    """
    if written.is_dir():
        raise ValueError(f"{name}: expected a file, got the folder {written}")
    if not written.parent.is_dir():
        raise ValueError(f"{name}: expected a file in a folder that exists, got {written}")
    if not written.exists():
        return
    places = find_pretrained(model), written.resolve().parent
    if any(written.samefile(file) for place in places for file in files_of(place)):
        raise ValueError(f"{name}: expected another file than those of a model, got {written}")
    if any(picture.exists() and written.samefile(picture) for picture in pictures):
        raise ValueError(f"{name}: expected another file than the picture, got {written}")


def output_file(out: Path | None, kind: str, model: Path, *pictures: Path) -> Path:
    """Returns the file to write about a picture or, if there is none, about a model.

    By default it is named after the picture and ``kind``, in the current folder. A name without a suffix gets
    ``.png``.

    Raises:
        ValueError: As :func:`check_output`.
    """
    if out is None:
        out = Path(f"{pictures[0].stem}-{kind}.png" if pictures else f"{kind}.png")
    if not out.suffix and not out.is_dir():  # else matplotlib would add it, and could overwrite the picture
        out = out.with_name(f"{out.name}.png")
    check_output("out", out, model, *pictures)
    return out
