"""``grapheme forget``: the removal of taught classes."""

from pathlib import Path

from grapheme_pyg.cli.teach import PATIENCE
from grapheme_pyg.model import ImageClassificationModel
from grapheme_pyg.names import say
from grapheme_pyg.training.run_lock import alone_in


def forget(model: Path, *names: str) -> None:
    """Removes taught classes from a model; the classes it was trained on remain.

    Args:
        model: Folder of a model.
        names: Names of taught classes.
    """
    if not model.is_dir():  # locking would make it
        raise FileNotFoundError(f"model: expected a folder of a model, got {str(model)!r}")
    with alone_in(model, patience=PATIENCE):
        network = ImageClassificationModel.from_pretrained(model)
        for name in names:
            network.remove_class(name)
        network.save_pretrained(model)
    say(f"{len(network.classes)} classes in {model}")
