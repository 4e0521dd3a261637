"""``grapheme forget``: a class that was taught."""

from pathlib import Path

from grapheme_pyg.cli.teach import PATIENCE
from grapheme_pyg.model import ImageClassificationModel
from grapheme_pyg.names import say
from grapheme_pyg.training.run_lock import alone_in


def forget(model: Path, *names: str) -> None:
    """Makes a model forget what it was taught of classes; what it was trained on stays.

    Args:
        model: Folder of a model.
        names: Classes that were taught.
    """
    with alone_in(model, patience=PATIENCE):
        network = ImageClassificationModel.from_pretrained(model)
        for name in names:
            network.remove_class(name)
        network.save_pretrained(model)
    say(f"{len(network.classes)} classes in {model}")
