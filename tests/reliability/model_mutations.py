"""Damaged and hostile copies of a saved model."""

import hashlib
import json
import math
import random
import struct
from collections.abc import Callable
from typing import Any

# Bytes of config.json, and of model.safetensors.
Files = tuple[bytes, bytes]
# How a value is written, and its bytes.
FORMATS = {"F32": ("f", 4), "F16": ("e", 2), "F64": ("d", 8), "I64": ("q", 8)}
NUMBERS = (-1, 0, 1, 7, 2**31, 2**63, 10**8, 10**9, 10**12, 10**40, 0.5, -0.0, 1e300, True, False)
OTHERS: tuple[Any, ...] = (
    None,
    "",
    "1",
    "grid",
    "hybrid",
    "\x1b[2J",
    "\ud800",
    [],
    [[]],
    {},
    [1, 2, 3],
    ["a", "a"],
    {"a": 1},
    [True] * 3,
)
HOSTILE_TEXT = (
    "NaN",
    "Infinity",
    "1e999",
    "1" * 5000,
    "[" * 5000,
    '{"a":' * 5000,
    '{"a": 1, "a": 2}',
    "[" + "[]," * 80_000 + "[]]",
    "\ufeff",
    "\x00",
)


def signed(config: dict[str, Any], weights: bytes) -> Files:
    """Files whose checksums are right, as someone who means harm would make them."""
    known = {name: value for name, value in config.items() if name != "settings_sha256"}
    known["sha256"] = hashlib.sha256(weights).hexdigest()
    digest = hashlib.sha256(json.dumps(known, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
    return json.dumps(known | {"settings_sha256": digest}).encode(), weights


def split(weights: bytes) -> tuple[dict[str, Any], bytes]:
    """Header and tensors of a safetensors file."""
    length = int.from_bytes(weights[:8], "little")
    return json.loads(weights[8 : 8 + length]), weights[8 + length :]


def join(header: str, tensors: bytes) -> bytes:
    """A safetensors file."""
    return struct.pack("<Q", len(header.encode())) + header.encode() + tensors


def flip_bit(files: Files, rng: random.Random) -> Files:
    """One bit of one of the files."""
    which = rng.randrange(2)
    content = bytearray(files[which])
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    return (bytes(content), files[1]) if which == 0 else (files[0], bytes(content))


def change_bytes(content: bytes, rng: random.Random) -> bytes:
    """Bytes replaced, left out, put in, repeated, or cut off."""
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 5, 30))):
        start = rng.randrange(len(changed) + 1)
        length = rng.choice((1, 1, 4, 60))
        some = (
            rng.randbytes(length) if rng.random() < 0.5 else rng.choice((b" ", b"\n", b"9", b'"', b"]", b"\0")) * length
        )
        how = rng.randrange(5)
        if how == 0:
            changed[start : start + length] = some[: len(changed) - start]
        elif how == 1 and len(changed) > length:
            del changed[start : start + length]
        elif how == 2:
            changed[start:start] = some
        elif how == 3:
            changed[start:start] = changed[start : start + length]
        else:
            changed = changed[: max(1, start)]
    return bytes(changed)


def change_value(root: Any, rng: random.Random) -> Any:
    """A JSON value in which one value is another, is gone, or has another name or a neighbour."""
    root = json.loads(json.dumps(root))
    places: list[tuple[Any, Any]] = []
    waiting = [root]
    while waiting:
        inner = waiting.pop()
        keys = list(inner) if isinstance(inner, dict) else range(len(inner))
        places += [(inner, key) for key in keys]
        waiting += [inner[key] for key in keys if isinstance(inner[key], dict | list)]
    inner, key = rng.choice(places)
    value: Any = rng.choice(NUMBERS if rng.random() < 0.6 else OTHERS)
    if rng.random() < 0.05:
        value = [str(i) for i in range(rng.choice((3000, 30_000)))]
    how = rng.randrange(6)
    if how <= 2:
        inner[key] = value
    elif how == 3:
        del inner[key]
    elif isinstance(inner, dict):
        name = rng.choice((f"{key}x", "unknown", "__metadata__", "dag._extra_state", "a" * 3000))
        inner[name] = value if how == 4 else inner.pop(key)
    else:
        inner.insert(key, inner[key] if how == 4 else value)
    return root


def change_config(files: Files, rng: random.Random) -> Files:
    """Another config, signed again."""
    config = json.loads(files[0])
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        # Names of relations are most of it.
        part = rng.choice((None, "vision", "model", "memory"))
        inner = config.get(part) if isinstance(config, dict) else None
        if inner and isinstance(inner, dict | list):
            config[part] = change_value(inner, rng)
        else:
            config = change_value(config, rng)
    try:
        return signed(config, files[1])
    except (AttributeError, ValueError):  # what is there has no place for a checksum
        return json.dumps(config).encode(), files[1]


def change_text(files: Files, rng: random.Random) -> Files:
    """JSON that is hard to read, in place of a value or of all."""
    text, hostile = files[0].decode(), rng.choice(HOSTILE_TEXT)
    start = rng.choice([0, *(i + 2 for i, mark in enumerate(text) if text[i : i + 2] == ": ")])
    return (text[:start] + hostile + text[start + rng.choice((0, 1, len(text))) :]).encode(), files[1]


def change_header(files: Files, rng: random.Random) -> Files:
    """Weights that say something else of themselves, signed again."""
    header, tensors = split(files[1])
    how = rng.randrange(7)
    if how <= 2:
        text = json.dumps(change_value(header, rng), ensure_ascii=False).encode(errors="replace").decode()
    elif how == 3:  # one tensor in the place, or with the shape, of another
        one, other = rng.sample(list(header), 2)
        field = rng.choice(("data_offsets", "shape", "dtype"))
        header[one][field] = (
            header[other][field] if field != "dtype" else rng.choice(("F16", "BF16", "F64", "I64", "F8"))
        )
        text = json.dumps(header)
    elif how == 4:
        text = change_bytes(json.dumps(header).encode(), rng).decode(errors="replace")
    elif how == 5:  # many tensors of which nothing is in the file
        empty = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
        text = json.dumps({str(i): empty for i in range(rng.choice((10, 1000)))} | header)
    else:
        text = json.dumps(header)
        tensors = rng.choice((tensors + b"\0" * rng.choice((1, 8, 1000)), tensors[: rng.randrange(len(tensors))]))
    weights = join(text, tensors)
    if rng.random() < 0.1:
        weights = struct.pack("<Q", rng.choice((0, 2**20, 2**40, 2**63, 2**64 - 1))) + weights[8:]
    return signed(json.loads(files[0]), weights)


def change_weights(files: Files, rng: random.Random) -> Files:
    """Other values of tensors, among them such that no model computes with, signed again."""
    header, tensors = split(files[1])
    changed = bytearray(tensors)
    values = (0.0, -1.0, 9.0, 90.0, 6e4, 1e19, 3e38, 1e-40, float("nan"), float("inf"), -float("inf"))
    values = values[: rng.choice((8, 8, 8, 11))]
    # Of as few values as a temperature as often as of thousands.
    places = [(it["dtype"], *it["data_offsets"]) for it in header.values() if it["data_offsets"][1] > 0]
    for _ in range(rng.choice((1, 1, 3, 30))):
        dtype, first, stop = rng.choice(places)
        code, size = FORMATS[dtype]
        value: Any = rng.choice(values)
        if code == "e" and abs(value) < math.inf:
            value = max(-65504.0, min(65504.0, value))
        elif code == "q":
            value = int(value) if abs(value) < 1e18 else 2**62
        content = struct.pack(f"<{code}", value)
        for _ in range(rng.choice((1, 1, 1000))):
            start = first + size * rng.randrange((stop - first) // size)
            changed[start : start + size] = content
    return signed(json.loads(files[0]), join(json.dumps(header), bytes(changed)))


# Those after which both checksums are right, and those after which they are as they were.
SIGNED: tuple[Callable[[Files, random.Random], Files], ...] = (change_config, change_header, change_weights)
UNSIGNED: tuple[Callable[[Files, random.Random], Files], ...] = (
    change_text,
    flip_bit,
    lambda files, rng: (change_bytes(files[0], rng), files[1]),
    lambda files, rng: (files[0], change_bytes(files[1], rng)),
)
