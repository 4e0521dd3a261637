"""``grapheme completion``: commands and options that a shell completes."""

from contextlib import suppress
from importlib import import_module
from typing import Any, Literal

from jsonargparse import ArgumentParser

from grapheme_pyg import __version__
from grapheme_pyg.cli import COMMANDS
from grapheme_pyg.cli.parse import make_parser


def completion(shell: Literal["bash", "zsh"]) -> None:
    """Prints a script with which a shell completes commands, options and names of files.

    Args:
        shell: The shell.
    """
    try:
        import shtab
    except ImportError as error:
        raise ImportError('shtab is needed to complete: pip install "grapheme-pyg[completion]"') from error
    parser = ArgumentParser(prog="grapheme", version=__version__)
    commands = parser.add_subcommands()
    for name, text in COMMANDS.items():
        own = ArgumentParser(description=text)
        with suppress(ImportError):  # of an extra that is not there: nobody needs the options
            own = make_parser(getattr(import_module(f"grapheme_pyg.cli.{name}"), name), name)
        argument: Any
        for argument in own._actions:
            if argument.dest == "data":  # the name of a set, or a folder
                argument.complete = shtab.FILE
        commands.add_subcommand(name, own)
    print(parser.get_completion_script(f"shtab-{shell}"))
