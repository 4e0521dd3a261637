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

# Descriptions of the commands, so that help need not import them. Each is a function in a module, both of its name.
COMMANDS = {
    "train": "train a model on MNIST and its family, or on a folder of pictures",
    "evaluate": "measure the accuracy of a model on test images",
    "predict": "classify pictures",
    "teach": "teach a model classes from a few examples",
    "forget": "remove taught classes from a model",
    "draw": "draw the graph of a picture, or a model's weights",
    "explain": "show which pixels and edges decided a prediction",
    "export": "write a model for use without this library",
    "info": "describe a model",
    "demo": "open a page to draw on",
    "completion": "print a script that completes commands and options in a shell",
}
# Turns for which a thread of GNU OpenMP spins before it sleeps, some 50 microseconds. To wake it takes longer than most
# of its work does.
SPINS = "2000"
USAGE = "usage: grapheme [--version] COMMAND ...; options of a command: grapheme COMMAND --help"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command.

    Args:
        arguments: The command and its arguments; those of the process if None.

    Returns:
        The exit code: 0 for success, 1 if anything failed, 2 for wrong usage. Each error is reported in one line on
        standard error.
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

            # Only this command's module is imported: PyTorch, Gradio and matplotlib take seconds.
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
    """Prints each of the library's warnings on one line, and only once, since many pictures may cause the same one."""
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
                say(f"grapheme {command}: warning: {message}", error=True)

        warnings.showwarning = show
        yield


@contextmanager
def _escaping() -> Iterator[None]:
    """Escapes characters that a console or a pipe cannot encode, so that printing a name cannot fail."""
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
    """Imports without the garbage collector, and lets waiting threads sleep.

    PyTorch and PyG have a third of a million objects, none of them garbage; examining them again and again took two
    fifths of the time of ``grapheme predict``. By default PyTorch's threads spin while they wait, which takes many
    times as long if they share a core with another program.

    Args:
        whole_process: Whether the process is the command's own. The collector then never examines the imported objects,
            not even at exit; and threads soon sleep, unless the environment sets another policy.
    """
    if whole_process and "OMP_WAIT_POLICY" not in os.environ:
        os.environ["OMP_WAIT_POLICY"] = "passive"
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if whole_process:
            gc.freeze()
        if enabled:
            gc.enable()
