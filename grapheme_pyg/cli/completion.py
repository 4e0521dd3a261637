"""``grapheme completion``: prints completion scripts for shells."""

from contextlib import suppress
from importlib import import_module
from typing import Any, Literal

from jsonargparse import ArgumentParser

from grapheme_pyg import __version__
from grapheme_pyg.cli import COMMANDS
from grapheme_pyg.cli.parse import dashed, make_parser
from grapheme_pyg.extras import missing


def completion(shell: Literal["bash", "zsh"]) -> None:
    """Prints a script that completes commands, options and file names in a shell.

    Args:
        shell: The shell.
    """
    try:
        import shtab
    except ImportError as error:
        raise missing(error.name, "to make completion scripts", "completion") from error
    parser = ArgumentParser(prog="grapheme", version=__version__)
    commands = parser.add_subcommands()
    for name, text in COMMANDS.items():
        own = ArgumentParser(description=text)
        with suppress(ImportError):  # a command whose extra is not installed has no options to complete
            own = make_parser(getattr(import_module(f"grapheme_pyg.cli.{name}"), name), name)
        argument: Any
        for argument in own._actions:
            if argument.dest == "data":  # a folder, or the name of a data set
                argument.complete = shtab.FILE
        commands.add_subcommand(name, own)
    print(dashed(parser.get_completion_script(f"shtab-{shell}")))
