"""``grapheme teach``: classes from a few examples."""

from collections.abc import Callable
from pathlib import Path
from shlex import quote

from torch import Tensor

from grapheme_pyg.cli.data import read_drawings
from grapheme_pyg.datasets.folder_layout import entries, find_pictures
from grapheme_pyg.errors import ImageError
from grapheme_pyg.labels import canonical
from grapheme_pyg.model import ImageClassificationModel
from grapheme_pyg.model_folder import version_of
from grapheme_pyg.names import say
from grapheme_pyg.progress_bar import progress_bar
from grapheme_pyg.training.run_lock import alone_in
from grapheme_pyg.weights import find_pretrained, list_pretrained

# Seconds to wait for another process that is changing the same model.
PATIENCE = 60


def teach(
    model: Path,
    *files: Path,
    name: str | None = None,
    out: Path | None = None,
    empty: bool = False,
    as_mnist: bool = False,
    find: bool = True,
) -> int:
    """Teaches a model classes from a few examples each, without training.

    Args:
        model: Folder of a model, or the name of one that comes with the package.
        files: With --name, pictures of the class or folders of them; without it, one folder with a folder of pictures
            for each class.
        name: Name of the class: a new one, or one of the model's, which gets more examples.
        out: New or empty folder for the taught model; by default it replaces the given one. Needed for a model that
            comes with the package.
        empty: Whether to start without the model's own classes; only with --out.
        as_mnist: Whether pictures are photographs or drawings of one symbol each, to be cropped, scaled and centred
            like MNIST's digits, as the page of ``grapheme demo`` does.
        find: Whether to look for drawings on larger pictures, if the model is for drawings.

    Returns:
        1 if a picture could not be read or is blank, as reported on standard error; else 0.
    """
    source, target = find_pretrained(model), model if out is None else out
    if not target.exists() and str(target) in list_pretrained():
        raise ValueError(f"out: expected a folder for the taught model, as {target} comes with the package, got none")
    in_place = target.exists() and source.exists() and target.samefile(source)
    if not in_place:
        _check_new(target)
    elif empty:
        raise ValueError(f"empty: expected out with it, as {target} would lose its own classes, got none")
    classes = _classes(files, name)
    taught: dict[str, int] = {}
    failed: set[Path] = set()

    def add(network: ImageClassificationModel) -> ImageClassificationModel:
        network = network.with_classes([]) if empty else network
        taught.clear()
        with progress_bar(sum(map(len, classes.values())), "pictures") as bar:
            for label, pictures in classes.items():
                examples: list[Tensor] = []
                for picture in pictures:
                    try:
                        if picture.is_dir():
                            raise ImageError(f"{picture}: expected pictures in this folder, got none")
                        found = read_drawings(network, picture, as_mnist=as_mnist, find=find)
                        examples += [image for image, _ in found]
                    except (ImageError, OSError) as error:
                        if picture not in failed:
                            say(f"grapheme teach: {error}", error=True)
                        failed.add(picture)
                    bar.update()
                if examples:
                    network.add_class(label, examples)
                    taught[label] = len(examples)
        if not taught:
            raise ValueError("files: expected at least one readable picture that is not blank, got none")
        return network

    if in_place:
        network = change_model(target, add)
    else:
        network = add(ImageClassificationModel.from_pretrained(model))
        with alone_in(target, patience=PATIENCE):
            _check_new(target)
            network.save_pretrained(target)
    for label, count in taught.items():
        say(f"{label}: {count} example{'s' if count > 1 else ''}")
    say(f"{len(network.classes)} class{'' if len(network.classes) == 1 else 'es'} in {target}")
    return int(bool(failed))


def change_model(
    folder: Path, change: Callable[[ImageClassificationModel], ImageClassificationModel]
) -> ImageClassificationModel:
    """Changes a model in its folder, in which nothing is written unless the change succeeds.

    Args:
        folder: Folder of the model.
        change: Returns the changed model. It is called again if another process has changed the model meanwhile.
    """
    before = version_of(folder)
    network = change(ImageClassificationModel.from_pretrained(folder))
    with alone_in(folder, patience=PATIENCE):
        if version_of(folder) != before:
            network = change(ImageClassificationModel.from_pretrained(folder))
        network.save_pretrained(folder)
    return network


def _check_new(out: Path) -> None:
    """Refuses to write into a folder that holds something, such as another taught model."""
    if out.exists() and not (out.is_dir() and all(path.name.startswith(".") for path in out.iterdir())):
        more = f"; to teach a model in it more, give it as the model: grapheme teach {quote(str(out))} …"
        raise ValueError(f"out: expected a new or empty folder, got {out}{more}")


def _classes(files: tuple[Path, ...], name: str | None) -> dict[str, list[Path]]:
    """Returns the pictures of each class."""
    if name is not None:
        if not name.strip():
            raise ValueError(f"name: expected the name of a class, got {name!r}")
        return {name.strip(): [picture for file in files for picture in _pictures(file)]}
    if len(files) != 1 or not files[0].is_dir():
        raise ValueError(
            f"files: expected one folder with a folder for each class, or --name, got {' '.join(map(str, files))}"
        )
    found: dict[str, list[Path]] = {}
    for folder in sorted(folder for folder in entries(files[0]) if folder.is_dir()):
        found.setdefault(canonical(folder.name), []).extend(_pictures(folder))
    if all(picture.is_dir() for pictures in found.values() for picture in pictures):
        raise ValueError(f"files: expected a folder of pictures for each class in {files[0]}, got none")
    return found


def _pictures(place: Path) -> list[Path]:
    """Returns the pictures in a folder; the folder itself if there are none, as a file is returned."""
    return (find_pictures(place) if place.is_dir() else []) or [place]
