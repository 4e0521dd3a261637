"""Runs the console command in the process of a test, and gives it a terminal."""

import os
import sys
import termios
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from tqdm import tqdm

from grapheme_pyg.cli import main


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """The exit code, what was printed, and what was said on standard error."""
    code = main([str(argument) for argument in arguments])
    out = capsys.readouterr()
    return code, out.out, out.err


@contextmanager
def terminal(delay: float = 0) -> Iterator[Callable[[], str]]:
    """Makes standard error a terminal, on which bars appear after ``delay`` seconds.

    Yields:
        A function that returns what was written to it since the last call.
    """
    ours, theirs = os.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    with os.fdopen(theirs, "w") as stream, pytest.MonkeyPatch.context() as patch:
        patch.setattr("grapheme_pyg.progress_bar.DELAY", delay)
        patch.setattr(tqdm, "monitor_interval", 0)  # without a thread
        patch.setattr(sys, "stderr", stream)

        def written() -> str:
            print("\0", end="", file=stream, flush=True)
            text = b""
            while not text.endswith(b"\0"):
                text += os.read(ours, 2**12)
            return text[:-1].decode()

        yield written
    os.close(ours)
