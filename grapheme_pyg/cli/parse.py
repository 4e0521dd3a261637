"""Parses command lines by the signatures of functions."""

import inspect
import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from docstring_parser import parse as parse_docstring
from jsonargparse import ActionYesNo, ArgumentParser

from grapheme_pyg.names import printable

# File names that are not UTF-8 would make the parser fail, so private characters replace their surrogates.
ENCODED = {0xDC00 + byte: 0x10FF00 + byte for byte in range(0x80, 0x100)}
DECODED = {to: from_ for from_, to in ENCODED.items()}


def dashed(text: str) -> str:
    """Returns a text with dashes for the underscores in the names of options."""
    return re.sub(r"(?<![\w-])--[\w.]+", lambda option: option[0].replace("_", "-"), text)


# What jsonargparse says of values of a wrong type, with one type or several; and our names of types.
WRONG_VALUE = re.compile(
    r'Parser key "([\w.]+)": '
    r"(?:Does not validate .* Subtypes: \[(.*)\] Errors: .* Given value|Expected a (.*)\. Got value): (.*)"
)
KINDS = {
    "bool": "true or false",
    "int": "an integer",
    "float": "a number",
    "tuple": "a list such as [a,b]",
    "list[int]": "a list such as [8,16]",
}


class Parser(ArgumentParser):
    """A parser that shows options with dashes, and whose messages are safe to print, whatever is in an argument."""

    def format_usage(self) -> str:
        """Returns the usage."""
        return dashed(super().format_usage())

    def format_help(self, *arguments: Any, **options: Any) -> str:
        """Returns the help, without marks of docstrings and of Python."""
        text = super().format_help(*arguments, **options).replace("``", "")
        return dashed(re.sub(r"<class\s+'(\w+)'>", r"\1", text))

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Prints an error on one line and ends the process."""
        said = " ".join(message.translate(DECODED).split())
        if wrong := WRONG_VALUE.fullmatch(said):
            name, several, one, value = wrong.groups()
            kinds = re.sub(r"typing\.Literal\[(.*?)\]", r"one of \1", re.sub(r"<class '(\w+)'>", r"\1", several or one))
            kinds = re.sub(r"\b(bool|int|float|tuple|list\[int\])(?=,|$)", lambda kind: KINDS[kind[0]], kinds)
            said = f"{name}: expected {kinds.removesuffix(', NoneType')}, got {value!r}"
            said = f"--{said}" if f"--{name}" in self._option_string_actions else said
        super().error(dashed(printable(said)), ex)


def parse(function: Callable[..., Any], name: str, arguments: Sequence[str]) -> Callable[[], Any]:
    """Returns the call of a function that a command line asks for.

    Types, defaults and help come from the function. Its positional parameters, and any number of ``*args``, are
    positional arguments. All others are options, ``--name value``; truth values are ``--name`` or ``--no-name``, and
    fields of a dataclass ``--name.field value``. Names may have dashes or underscores; each may be given once.
    Everything after ``--`` is positional, even if it begins with a dash. ``--config file.yaml`` reads options from a
    file, ``--print-config`` prints them.

    Args:
        function: The function, with a docstring in Google's style.
        name: The name of the command.
        arguments: The arguments of the command.

    Raises:
        SystemExit: The command line is wrong, or asks for help, which has been printed.
    """
    parser, parameters = make_parser(function, name), inspect.signature(function).parameters.values()
    encoded = [argument.translate(ENCODED) for argument in arguments]
    end = encoded.index("--") if "--" in encoded else len(encoded)  # no options follow
    names = [
        re.sub(r"^--[^=]*", lambda name: name[0].replace("-", "_").replace("__", "--", 1), a) for a in encoded[:end]
    ]
    names = [re.sub(r"^--(no_)?color(?==|$)", r"--\1colour", name) for name in names]
    # The parser takes the last value of an option, and `--name a a.png --name b b.png` would give both pictures to b.
    if (times := sum(name.partition("=")[0] == "--name" for name in names)) > 1:
        parser.error(f"--name: expected it once, got it {times} times")
    try:
        found = vars(parser.instantiate(parser.parse_args(names + encoded[end:])))
    except UnicodeDecodeError as error:
        parser.error(f"--config: expected a file in UTF-8, got other bytes ({error})")
    given = {name: _decode(value) for name, value in found.items()}
    positional = [given[p.name] for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    rest = [value for p in parameters if p.kind is p.VAR_POSITIONAL for value in given[p.name]]
    named = {p.name: given[p.name] for p in parameters if p.kind is p.KEYWORD_ONLY}
    return partial(function, *positional, *rest, **named)


def make_parser(function: Callable[..., Any], name: str) -> Parser:
    """Returns the parser for :func:`parse`, which describes the arguments."""
    signature = inspect.signature(function)
    described = parse_docstring(inspect.getdoc(function) or "")
    texts = {param.arg_name: param.description for param in described.params}
    parser = Parser(prog=name, description=described.short_description)
    parser.add_argument("--config", action="config", help="a YAML file with values of options")
    many = [p.name for p in signature.parameters.values() if p.kind is p.VAR_POSITIONAL]
    flags = [p for p in signature.parameters.values() if p.annotation is bool and p.default is not p.empty]
    by_place = [p for p in signature.parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
    places = [p for p in by_place if p.default is not p.empty]
    skipped: set[str | int] = {*many, *(p.name for p in [*flags, *places])}
    parser.add_function_arguments(function, as_group=False, as_positional=True, skip=skipped, fail_untyped=True)
    for flag in flags:
        parser.add_argument(f"--{flag.name}", action=ActionYesNo, default=flag.default, help=texts[flag.name])
    for place in places:
        parser.add_argument(place.name, nargs="?", type=place.annotation, default=place.default, help=texts[place.name])
    for each in many:
        parser.add_argument(each, nargs="+", type=signature.parameters[each].annotation, help=texts[each])
    return parser


def _decode(value: Any) -> Any:
    """Restores the surrogates in a value."""
    if isinstance(value, list):
        return [_decode(item) for item in value]
    if isinstance(value, str):
        return value.translate(DECODED)
    return Path(str(value).translate(DECODED)) if isinstance(value, Path) else value
