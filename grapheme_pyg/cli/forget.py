"""``grapheme forget``: the removal of taught classes."""

from pathlib import Path

from grapheme_pyg.cli.teach import change_model
from grapheme_pyg.model import ImageClassificationModel
from grapheme_pyg.names import say


def forget(model: Path, *names: str) -> None:
    """Removes taught classes from a model; the classes it was trained on remain.

    Args:
        model: Folder of a model.
        names: Names of taught classes.
    """

    def remove(network: ImageClassificationModel) -> ImageClassificationModel:
        for name in dict.fromkeys(names):
            network.remove_class(name)
        return network

    if not model.is_dir():  # it may be the name of a model that comes with the package
        raise FileNotFoundError(f"model: expected a folder of a model, got {str(model)!r}")
    network = change_model(model, remove)
    say(f"{len(network.classes)} class{'' if len(network.classes) == 1 else 'es'} in {model}")
