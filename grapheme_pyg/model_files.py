"""Models on disk: weights as safetensors, everything else as JSON, nothing pickled. Files may come from strangers."""

import hashlib
import json
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from io import BufferedReader
from pathlib import Path
from typing import Any, TypeVar

from safetensors.torch import save
from torch import Tensor, nn

from grapheme_pyg.atomic import replace_file
from grapheme_pyg.errors import ModelFileError
from grapheme_pyg.model_config import SHOWN, check_config, check_extent
from grapheme_pyg.strict_json import most_bytes, parse_json
from grapheme_pyg.weights_file import TensorKind, check_kinds, check_values, read_header, read_tensors

FORMAT, FORMAT_VERSION = "grapheme_pyg.ImageClassificationModel", 1
WEIGHTS, CONFIG = "model.safetensors", "config.json"
SHOWN_ERROR = 500

Model = TypeVar("Model", bound=nn.Module)


def save_model(folder: Path, tensors: dict[str, Tensor], config: dict[str, Any]) -> None:
    """Writes weights, then the config with the checksums of both.

    Each file is there as a whole or not at all; a new one beside an old one is refused by :func:`load_model`.

    Raises:
        ModelFileError: The model is one that :func:`load_model` would refuse.
    """
    folder.mkdir(parents=True, exist_ok=True)
    weights = save({key: value.detach().cpu().contiguous() for key, value in tensors.items()})
    known = {"format": FORMAT, "format_version": FORMAT_VERSION, "sha256": hashlib.sha256(weights).hexdigest()} | config
    text = (json.dumps(known | {"settings_sha256": _settings_digest(known)}, indent=2) + "\n").encode()
    with _naming(folder / CONFIG):
        _to_config(text, len(weights))
    with _naming(folder / WEIGHTS):
        check_values(tensors.items())
    replace_file(folder / WEIGHTS, weights)
    replace_file(folder / CONFIG, text)


def load_model(
    folder: Path, build: Callable[[dict[str, Any], dict[str, TensorKind]], Model]
) -> tuple[Model, dict[str, Tensor], dict[str, Any]]:
    """Reads a model; as long as it is not known to be what it should be, nothing is made that is larger than it.

    The config is read first, then what the weights say of themselves, then it is seen from both which weights there
    must be, and only then are these read, to where they stay.

    Args:
        folder: With the two files.
        build: Makes, on the ``meta`` device, the model of a checked config and of the kinds of its weights.

    Returns:
        That model, its weights, and the config.

    Raises:
        FileNotFoundError: One of the two files is missing.
        ModelFileError: One is no regular file, too large, damaged, or of another format or version; they do not fit
            together; or a weight is not finite. The message names the file and the field.
    """
    with _opened(folder / CONFIG) as (config_file, config_size), _opened(folder / WEIGHTS) as (file, size):
        with _naming(folder / CONFIG):
            if config_size > most_bytes(size):
                raise ValueError(f"size: expected at most {most_bytes(size)} bytes, got {config_size}")
            config = _to_config(config_file.read(config_size), size)
        with _naming(folder / WEIGHTS):
            kinds = read_header(file, size)
        with _naming(folder / CONFIG):
            check_extent(config, len(kinds), size)
            model = build(config, kinds)
        with _naming(folder / WEIGHTS):
            state = model.state_dict()
            check_kinds(kinds, {name: value for name, value in state.items() if isinstance(value, Tensor)})
            tensors, digest = read_tensors(file, kinds, size)
            if digest != config["sha256"]:
                raise ValueError(f"expected SHA-256 {config['sha256'][:SHOWN]}, got {digest}")
            check_values(tensors.items())
    return model, tensors, config


def _to_config(text: bytes, size: int) -> dict[str, Any]:
    """The config, checked, without looking at the weights, which are of so many bytes."""
    config = parse_json(text, size)
    if not isinstance(config, dict):
        raise ValueError(f"expected an object, got {type(config).__name__}")
    came = config.pop("format", None), config.pop("format_version", None)
    if came[0] != FORMAT:
        raise ValueError(f"format: expected {FORMAT!r}, got {repr(came[0])[:SHOWN]}")
    if type(came[1]) is not int or came[1] < 1:
        raise ValueError(f"format_version: expected an integer in 1…{FORMAT_VERSION}, got {repr(came[1])[:SHOWN]}")
    if came[1] > FORMAT_VERSION:
        newer = f"written by a newer version: expected at most {FORMAT_VERSION}, got {came[1]}"
        raise ValueError(f"format_version: {newer}; this one reads up to {FORMAT_VERSION}")
    digests = {name: config.pop(name) for name in ("sha256", "settings_sha256") if name in config}
    check_config(config)
    config |= {"format": came[0], "format_version": came[1], "sha256": digests.get("sha256")}
    if not isinstance(config["sha256"], str):
        raise ValueError(f"sha256: expected that of {WEIGHTS}, got {repr(config['sha256'])[:SHOWN]}")
    # Models of before this was there have none.
    if "settings_sha256" in digests and digests["settings_sha256"] != _settings_digest(config):
        expected = f"expected {_settings_digest(config)}, that of the other fields"
        raise ValueError(f"settings_sha256: {expected}, got {repr(digests['settings_sha256'])[:SHOWN]}")
    return config


def _settings_digest(config: dict[str, Any]) -> str:
    """SHA-256 of the fields, whatever their order and the white space between them."""
    return hashlib.sha256(json.dumps(config, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


@contextmanager
def _opened(path: Path) -> Iterator[tuple[BufferedReader, int]]:
    """A regular file and its size in bytes; never waits, as opening a named pipe would."""
    with ExitStack() as stack:
        with _naming(path):
            # Flags that a system does not have are not needed there.
            number = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
            stack.callback(os.close, number)
            known = os.fstat(number)
            if not stat.S_ISREG(known.st_mode):
                raise ValueError(f"expected a regular file, got {stat.filemode(known.st_mode)}")
            file = stack.enter_context(os.fdopen(number, "rb", closefd=False))
        yield file, known.st_size


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Errors name the file."""
    try:
        yield
    except (FileNotFoundError, ModelFileError):
        raise
    except MemoryError as error:
        raise ModelFileError(f"{path}: expected a model that fits into memory, got a larger one") from error
    except (OSError, ValueError, RuntimeError) as error:
        raise ModelFileError(f"{path}: {str(error)[:SHOWN_ERROR]}") from error
