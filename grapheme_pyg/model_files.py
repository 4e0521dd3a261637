"""Models on disk: weights as safetensors, everything else as JSON, nothing pickled."""

import hashlib
import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

FORMAT, FORMAT_VERSION = "grapheme_pyg.ImageClassificationModel", 1
WEIGHTS, CONFIG = "model.safetensors", "config.json"


def save_model(folder: Path, tensors: dict[str, Tensor], config: dict[str, Any]) -> None:
    """Writes weights, then the config with their checksum."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = save({key: value.detach().cpu().contiguous() for key, value in tensors.items()})
    header = {"format": FORMAT, "format_version": FORMAT_VERSION, "sha256": hashlib.sha256(weights).hexdigest()}
    (folder / WEIGHTS).write_bytes(weights)
    (folder / CONFIG).write_text(json.dumps(header | config, indent=2) + "\n")


def load_model(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Reads weights and config.

    Raises:
        FileNotFoundError: One of the two files is missing.
        ValueError: One is damaged or of another format; the message names it.
    """
    path = folder / CONFIG
    try:
        config = json.loads(path.read_text())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: expected JSON, got {error}") from error
    came = (config.get("format"), config.get("format_version")) if isinstance(config, dict) else None
    if came != (FORMAT, FORMAT_VERSION):
        raise ValueError(f"{path}: expected format and version {(FORMAT, FORMAT_VERSION)}, got {came}")
    weights = (folder / WEIGHTS).read_bytes()
    # safetensors notices truncation, but no flipped bits.
    digest = hashlib.sha256(weights).hexdigest()
    if digest != config.get("sha256"):
        raise ValueError(f"{folder / WEIGHTS}: expected SHA-256 {config.get('sha256')}, got {digest}")
    try:
        return load(weights), config
    except SafetensorError as error:
        raise ValueError(f"{folder / WEIGHTS}: expected safetensors, got {error}") from error
