"""Trained models that come with the package, by name: each a folder with a model and its card."""

import logging
from pathlib import Path

from grapheme_pyg.model_folder import CONFIG

log = logging.getLogger(__name__)
FOLDER = Path(__file__).parent


def list_pretrained() -> list[str]:
    """Returns the names of the models that come with the package.

    :meth:`grapheme_pyg.ImageClassificationModel.from_pretrained` and the commands take a name where they take a folder.
    Each has a card, ``README.md`` in ``grapheme_pyg/weights/<name>``: data and licences, the command that makes it,
    figures and limits.
    """
    return sorted(path.parent.name for path in FOLDER.glob(f"*/{CONFIG}"))


def find_pretrained(folder: Path) -> Path:
    """Returns the folder of a model, given that or a name; a folder of such a name wins, which is logged.

    Raises:
        FileNotFoundError: There is no such folder, and no model has that name.
    """
    name, known = str(folder), list_pretrained()
    if name not in known:
        if not folder.exists():
            raise FileNotFoundError(f"folder: expected a folder of a model or one of {', '.join(known)}, got {name!r}")
        return folder
    if folder.exists():
        log.warning("%s: the folder of that name is taken, not the model that comes with the package", name)
        return folder
    return FOLDER / name
