"""The console command ``grapheme``; see ``grapheme --help``."""

import gc
import io
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any

# What each does, so that help need not import them: each is a function of that name in a module of that name.
COMMANDS = {
    "train": "train a model, on MNIST and its family or on a folder of pictures",
    "evaluate": "measure a model on images that it has not seen",
    "predict": "say what pictures show",
    "teach": "teach a model classes from a few examples",
    "forget": "make a model forget what it was taught",
    "draw": "draw the graph of a picture, or what a model has learned",
    "explain": "show which pixels and edges decided",
    "export": "write a model for use without this library",
    "info": "say what a model is",
    "demo": "open a page to draw on",
    "completion": "print what a shell needs to complete commands and options",
}
USAGE = "usage: grapheme [--version] COMMAND ...; options of a command: grapheme COMMAND --help"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command.

    Args:
        arguments: The command and its arguments; those of the process if None.

    Returns:
        The exit code: 0 if all went well, 1 if something that was asked for could not be done, 2 for wrong usage.
        Messages on what went wrong are one line on standard error.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    with _escaping():
        return _run(given, whole_process=arguments is None)


def _run(given: list[str], *, whole_process: bool) -> int:
    command, rest = (given[0], given[1:]) if given else ("", [])
    if command in ("", "-h", "--help"):
        print(USAGE, "", *(f"  {name:12}{text}" for name, text in COMMANDS.items()), sep="\n")
        return 0 if command else 2
    if command == "--version":
        from grapheme_pyg import __version__

        print(f"grapheme {__version__}")
        return 0
    if command not in COMMANDS:
        print(f"grapheme: expected one of {', '.join(COMMANDS)}, got {command!r}", file=sys.stderr)
        return 2
    try:
        with _starting(whole_process=whole_process):
            from grapheme_pyg.cli.parse import parse
            from grapheme_pyg.names import say

            # Only the module that is needed: PyTorch, Gradio and matplotlib take seconds.
            function = getattr(import_module(f"grapheme_pyg.cli.{command}"), command)
            call = parse(function, f"grapheme {command}", rest)
        with _warning_once(command):
            return int(call() or 0)
    except (ValueError, OSError, ImportError) as error:
        say(f"grapheme {command}: {' '.join(str(error).split())}", error=True)
        return 1
    except KeyboardInterrupt:
        return 130


@contextmanager
def _warning_once(command: str) -> Iterator[None]:
    """Prints each of the library's own warnings as one line, and once: it may be about each of many pictures."""
    from grapheme_pyg.errors import ImageWarning, TrainingWarning
    from grapheme_pyg.names import say

    seen: set[str] = set()
    with warnings.catch_warnings():
        usual = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *place: Any, **options: Any) -> None:
            if not issubclass(category, ImageWarning | TrainingWarning):
                usual(message, category, *place, **options)
            elif str(message) not in seen:
                seen.add(str(message))
                say(f"grapheme {command}: {message}", error=True)

        warnings.showwarning = show
        yield


@contextmanager
def _escaping() -> Iterator[None]:
    """Escapes what a console or a pipe cannot show, so that no answer is lost to a name."""
    streams = [stream for stream in (sys.stdout, sys.stderr) if isinstance(stream, io.TextIOWrapper)]
    before = [(stream, stream.errors) for stream in streams]
    for stream in streams:
        stream.reconfigure(errors="backslashreplace")
    try:
        yield
    finally:
        for stream, errors in before:
            stream.reconfigure(errors=errors)


@contextmanager
def _starting(*, whole_process: bool) -> Iterator[None]:
    """Imports without the garbage collector, which finds none in them, but would look for it again and again.

    Threads sleep while they wait for one another, unless the user has said something else: as they come, PyTorch's
    threads spin, so that two on one core, beside another program, take many times as long.

    PyTorch and PyG are a third of a million objects: looking through them, again at exit, took two fifths of all the
    time of ``grapheme predict``.

    Args:
        whole_process: Whether the process is the command's own, so that nothing but its imports is there: then the
            collector never looks at what was imported, not even at exit.
    """
    if whole_process:
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if whole_process:
            gc.freeze()
        if enabled:
            gc.enable()
