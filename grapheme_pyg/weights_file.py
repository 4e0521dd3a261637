"""Weights on disk (safetensors): what a file says of its tensors before they are read, and what they may hold."""

import hashlib
import math
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from io import BufferedReader

import torch
from torch import Tensor

from grapheme_pyg.strict_json import LARGEST_BYTES, MOST_BYTES, parse_json

DTYPES = {
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F32": torch.float32,
    "F64": torch.float64,
    "I64": torch.int64,
}
# Bytes of the number at the start, which is the length of the header.
PREFIX = 8
# Values that are looked at at once.
PIECE = 2**18


@dataclass(frozen=True)
class TensorKind:
    """What is known of a tensor before it is read."""

    dtype: torch.dtype
    shape: tuple[int, ...]

    @property
    def num_bytes(self) -> int:
        """What its values take."""
        return math.prod(self.shape) * self.dtype.itemsize


def read_header(file: BufferedReader, size: int) -> dict[str, TensorKind]:
    """What a safetensors file says of its tensors, in the order in which they lie; reads no tensor.

    https://github.com/huggingface/safetensors#format. The library reads a header only together with the tensors.

    Args:
        file: At its start.
        size: Of the file in bytes.

    Raises:
        ValueError: The header is longer than it may be, or is none; or the tensors overlap, leave gaps, have other
            shapes than places, or do not end with the file.
    """
    prefix = file.read(PREFIX)
    length = int.from_bytes(prefix, "little")
    if len(prefix) < PREFIX or length > size - PREFIX:
        raise ValueError(f"header: expected at most {size - PREFIX} bytes of a file of {size}, got {length}")
    most = min(MOST_BYTES + size // 2, LARGEST_BYTES)
    if length > most:
        raise ValueError(f"header: expected at most {most} bytes, got {length}")
    text = file.read(length)
    if not text.isascii():
        raise ValueError("header: expected ASCII, got other bytes")
    found = parse_json(text, 4 * size)
    if not isinstance(found, dict):
        raise ValueError(f"header: expected an object, got {type(found).__name__}")
    entries = [(name, *_to_kind(name, entry)) for name, entry in found.items()]
    kinds, end = {}, 0
    for name, kind, (start, stop) in sorted(entries, key=lambda entry: entry[2]):
        if start != end:
            raise ValueError(f"{name[:80]}: expected to start at byte {end}, got {start}")
        kinds[name], end = kind, stop
    if PREFIX + length + end != size:
        raise ValueError(f"tensors: expected to end with the file, at byte {size}, got {PREFIX + length + end}")
    return kinds


def _to_kind(name: str, entry: object) -> tuple[TensorKind, tuple[int, int]]:
    """Of one tensor: what it is, and where its bytes start and end."""
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        came = sorted(entry)[:4] if isinstance(entry, dict) else type(entry).__name__
        raise ValueError(f"{name[:80]}: expected dtype, shape and data_offsets, got {came}")
    dtype, shape, place = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise ValueError(f"{name[:80]}: expected dtype one of {tuple(DTYPES)}, got {str(dtype)[:80]!r}")
    if not _are_sizes(shape):
        raise ValueError(f"{name[:80]}: expected shape of non-negative integers, got {str(shape)[:80]}")
    if not _are_sizes(place) or len(place) != 2:
        raise ValueError(f"{name[:80]}: expected two data_offsets, got {str(place)[:80]}")
    kind = TensorKind(DTYPES[dtype], tuple(shape))
    if place[1] - place[0] != kind.num_bytes:
        raise ValueError(f"{name[:80]}: expected {kind.num_bytes} bytes by its shape, got {place[1] - place[0]}")
    return kind, (place[0], place[1])


def _are_sizes(value: object) -> bool:
    return isinstance(value, list) and all(type(item) is int and item >= 0 for item in value)


def check_kinds(came: Mapping[str, TensorKind], expected: Mapping[str, Tensor]) -> None:
    """Refuses weights that are not those of a model.

    Args:
        came: Of the file.
        expected: Of the model; on any device, ``meta`` too.

    Raises:
        ValueError: A tensor is missing or is one too many, or has another shape or dtype.
    """
    for name, tensor in expected.items():
        if name not in came:
            raise ValueError(f"{name}: expected a tensor, which config.json asks for, got none")
        if came[name].shape != tensor.shape:
            want, got = list(tensor.shape), list(came[name].shape)
            raise ValueError(f"{name}: expected shape {want}, which config.json asks for, got {str(got)[:80]}")
        if came[name].dtype != tensor.dtype:
            raise ValueError(f"{name}: expected {tensor.dtype}, got {came[name].dtype}")
    if more := [name for name in came if name not in expected]:
        raise ValueError(f"{more[0][:80]}: expected no such tensor by config.json, got one")


def read_tensors(file: BufferedReader, kinds: Mapping[str, TensorKind], size: int) -> tuple[dict[str, Tensor], str]:
    """The tensors of a safetensors file, and the SHA-256 of the file.

    Each is read to where it stays, so that this takes no more than the tensors do. (The library's own function would
    take twice that, and puts tensors where processors are slower with them.)

    Args:
        file: At any place.
        kinds: As :func:`read_header` gave them.
        size: Of the file in bytes.

    Raises:
        ValueError: The file ends early; or the machine has the most significant byte first, which the format has not.
    """
    if sys.byteorder != "little":
        raise ValueError(f"tensors: expected a little-endian machine, got a {sys.byteorder}-endian one")
    file.seek(0)
    digest = hashlib.sha256(file.read(size - sum(kind.num_bytes for kind in kinds.values())))
    tensors = {}
    for name, kind in kinds.items():
        tensors[name] = torch.empty(kind.shape, dtype=kind.dtype)
        if kind.num_bytes > 0:
            buffer = tensors[name].view(-1).view(torch.uint8).numpy().data
            if (came := file.readinto(buffer)) != kind.num_bytes:
                raise ValueError(f"{name}: expected {kind.num_bytes} bytes, got {came}, and the end of the file")
            digest.update(buffer)
    return tensors, digest.hexdigest()


def check_values(tensors: Iterable[tuple[str, Tensor]]) -> None:
    """Refuses weights that no model computes with.

    Raises:
        ValueError: A value is not finite, but for quantiles before they are calibrated; or a variance is negative.
    """
    for name, tensor in tensors:
        if not tensor.is_floating_point() or (name.endswith(".quantiles") and bool(tensor.isnan().all())):
            continue
        least = 0 if name.endswith(".running_var") else -math.inf
        for piece in tensor.detach().flatten().split(PIECE):
            if not bool(piece.isfinite().all()):
                raise ValueError(f"{name}: expected finite values, got {piece[~piece.isfinite()][0].item()}")
            if bool((piece < least).any()):
                raise ValueError(f"{name}: expected no negative variance, got {piece.min().item():.4g}")
