"""``grapheme teach``: classes from a few examples."""

from pathlib import Path

from torch import Tensor

from grapheme_pyg.cli.data import read_drawings
from grapheme_pyg.datasets.folder_layout import find_pictures
from grapheme_pyg.errors import ImageError
from grapheme_pyg.model import ImageClassificationModel
from grapheme_pyg.names import say
from grapheme_pyg.progress_bar import progress_bar
from grapheme_pyg.training.run_lock import alone_in
from grapheme_pyg.weights import find_pretrained, list_pretrained

# Seconds to wait for another process that is changing the same model.
PATIENCE = 60


def teach(
    model: Path, *files: Path, name: str | None = None, out: Path | None = None, empty: bool = False, find: bool = True
) -> int:
    """Teaches a model classes from a few examples each, without training.

    Args:
        model: Folder of a model, or the name of one that comes with the package.
        files: With --name, pictures of the class or folders of them; without it, one folder with a folder of pictures
            for each class.
        name: Name of the class: a new one, or one of the model's, which gets more examples.
        out: Folder for the taught model; by default it replaces the given one. Needed for a model that comes with
            the package.
        empty: Whether to start without the model's own classes.
        find: Whether to look for drawings on larger pictures, if the model is for drawings.

    Returns:
        1 if a picture could not be read or is blank, as reported on standard error; else 0.
    """
    target = model if out is None else out
    find_pretrained(model)  # before locking the target, which makes its folder
    if not target.exists() and str(target) in list_pretrained():
        raise ValueError(f"out: expected a folder for the taught model, as {target} comes with the package, got none")
    classes = _classes(files, name)
    failed = 0
    count = sum(map(len, classes.values()))
    with alone_in(target, patience=PATIENCE), progress_bar(count, "pictures") as bar:
        network = ImageClassificationModel.from_pretrained(model)
        if empty:
            network = network.with_classes([])
        taught: dict[str, int] = {}
        for label, pictures in classes.items():
            examples: list[Tensor] = []
            for picture in pictures:
                try:
                    examples += [image for image, _ in read_drawings(network, picture, as_mnist=False, find=find)]
                except (ImageError, OSError) as error:
                    failed += 1
                    say(f"grapheme teach: {error}", error=True)
                bar.update()
            if examples:
                network.add_class(label, examples)
                taught[label] = len(examples)
        if not taught:
            raise ValueError("files: expected at least one readable picture that is not blank, got none")
        network.save_pretrained(target)
    for label, count in taught.items():
        say(f"{label}: {count} example{'s' if count > 1 else ''}")
    say(f"{len(network.classes)} class{'' if len(network.classes) == 1 else 'es'} in {target}")
    return int(failed > 0)


def _classes(files: tuple[Path, ...], name: str | None) -> dict[str, list[Path]]:
    """Returns the pictures of each class."""
    if name is not None:
        return {name: [picture for file in files for picture in (find_pictures(file) if file.is_dir() else [file])]}
    if len(files) != 1 or not files[0].is_dir():
        raise ValueError(f"files: expected one folder with a folder for each class, or --name, got {files}")
    folders = sorted(folder for folder in files[0].iterdir() if folder.is_dir() and not folder.name.startswith("."))
    found = {folder.name: find_pictures(folder) for folder in folders}
    if not any(found.values()):
        raise ValueError(f"files: expected a folder of pictures for each class in {files[0]}, got none")
    return found
