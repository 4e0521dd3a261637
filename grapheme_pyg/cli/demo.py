"""``grapheme demo``: a page to draw on."""

from pathlib import Path

from grapheme_pyg.demo import launch


def demo(model: Path, *, port: int | None = None, open_browser: bool = True) -> None:
    """Opens a page to draw on, on this machine alone.

    Args:
        model: Folder of a model.
        port: Of the page; a free one by default.
        open_browser: Whether to open it in a browser.
    """
    launch(model, port=port, open_browser=open_browser)
