"""Serves the page to this machine only, until it is stopped."""

import os
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from grapheme_pyg.demo.guard import guarding
from grapheme_pyg.demo.page import CSS, make_page, make_theme
from grapheme_pyg.model import ImageClassificationModel

HOST = "127.0.0.1"
# Environment variable that tells Gradio where to keep files.
FOLDER = "GRADIO_TEMP_DIR"
# Each session may hold a model of its own. If there are more, the least recently used one is forgotten.
MOST_SESSIONS = 100


def launch(
    model: Path, *, port: int | None = None, open_browser: bool = True, teach_dir: Path = Path("runs/taught")
) -> None:
    """Opens a page to draw on and serves it until interrupted (Ctrl-C).

    Only this machine can reach the page, and neither the page nor the server uses the network. Requests from other
    pages are refused. Drawings are deleted after a minute, or when the server stops, even by SIGTERM.

    Args:
        model: Folder of a model that reads digits in MNIST's form, as written by
            :meth:`grapheme_pyg.ImageClassificationModel.save_pretrained`.
        port: Port of the page, 1 to 65535. If None, a free one from 7860 on.
        open_browser: Whether to open the page in the default browser.
        teach_dir: Folder in which the page saves and opens the models that are taught on it, each in its own folder.

    Raises:
        FileNotFoundError: A file of the model is missing.
        ValueError: The model is damaged, or ``port`` is out of range.
        OSError: The port is taken, or this user may not use it.
    """
    if port is not None and not 1 <= port <= 65535:
        raise ValueError(f"port: expected a number in 1…65535, got {port}")
    if port is not None:
        _check_free(port)
    network = ImageClassificationModel.from_pretrained(model)
    with _deleted_at_the_end():
        page = make_page(network, teach_dir)
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
            state_session_capacity=MOST_SESSIONS,
            app_kwargs={"lifespan": guarding},
        )
        print(f"Draw at {address} (Ctrl-C stops)", flush=True)
        try:
            page.block_thread()
        finally:
            page.close(verbose=False)


@contextmanager
def _deleted_at_the_end() -> Iterator[None]:
    """Makes Gradio keep its files in a folder that is deleted at the end, even if SIGTERM ends the process."""
    usual = os.environ.get(FOLDER)
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        with TemporaryDirectory() as folder:
            os.environ[FOLDER] = folder
            yield
    finally:
        signal.signal(signal.SIGTERM, before)
        os.environ.pop(FOLDER)
        if usual is not None:
            os.environ[FOLDER] = usual


def _check_free(port: int) -> None:
    """Checks the port before the model is loaded; Gradio's own message would name arguments users do not know."""
    try:
        socket.create_server((HOST, port)).close()
    except OSError as error:
        raise OSError(f"port: expected a free one, got {port} ({error.strerror})") from error
