"""``grapheme demo``: a page to draw on."""

from pathlib import Path

from grapheme_pyg.demo import launch


def demo(
    model: Path = Path("mnist-base"),
    *,
    port: int | None = None,
    open_browser: bool = True,
    teach_dir: Path = Path("runs/taught"),
) -> None:
    """Opens a page to draw on, which only this machine can reach.

    Args:
        model: Folder of a model, or the name of one that comes with the package; by default mnist-base.
        port: Port of the page; by default a free one.
        open_browser: Whether to open the page in a browser.
        teach_dir: Folder in which models that are taught on the page are saved.
    """
    launch(model, port=port, open_browser=open_browser, teach_dir=teach_dir)
