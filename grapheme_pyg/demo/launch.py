"""Starts the page, on this machine alone, and waits until it is stopped."""

import socket
from pathlib import Path

from grapheme_pyg.demo.page import CSS, make_page, make_theme
from grapheme_pyg.model import ImageClassificationModel

HOST = "127.0.0.1"


def launch(model: Path, *, port: int | None = None, open_browser: bool = True) -> None:
    """Opens a page to draw on, and serves it until interrupted (Ctrl-C).

    The page is reachable from this machine alone, and neither it nor the server asks anything of the network.

    Args:
        model: Folder of a model that reads digits of MNIST's form, as
            :meth:`grapheme_pyg.ImageClassificationModel.save_pretrained` writes it.
        port: Of the page, 1 to 65535; a free one from 7860 on if None.
        open_browser: Whether to open the page in the default browser.

    Raises:
        FileNotFoundError: A file of the model is missing.
        ValueError: The model is damaged, or ``port`` is out of its range.
        OSError: The port is taken, or not for this user.
    """
    if port is not None and not 1 <= port <= 65535:
        raise ValueError(f"port: expected a number in 1…65535, got {port}")
    if port is not None:
        _check_free(port)
    page = make_page(ImageClassificationModel.from_pretrained(model))
    _, address, _ = page.launch(
        server_name=HOST,
        server_port=port,
        inbrowser=open_browser,
        share=False,
        ssr_mode=False,
        quiet=True,
        footer_links=[],
        prevent_thread_lock=True,
        theme=make_theme(),
        css=CSS,
    )
    print(f"Draw at {address} (Ctrl-C stops)", flush=True)
    try:
        page.block_thread()
    finally:
        page.close(verbose=False)


def _check_free(port: int) -> None:
    """Before the model is loaded, and in other words than Gradio's, which name arguments of its own."""
    try:
        socket.create_server((HOST, port)).close()
    except OSError as error:
        raise OSError(f"port: expected a free one, got {port} ({error.strerror})") from error
