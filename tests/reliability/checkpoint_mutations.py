"""Damaged and hostile copies of a checkpoint."""

import hashlib
import io
import json
import random
import struct
import zipfile
from collections.abc import Callable
from typing import Any

import torch
from model_mutations import HOSTILE_TEXT, change_bytes, change_value, join, split

from grapheme_pyg.training.checkpoints import PLAIN, SUM_BYTES

VALUES = (0.0, -1.0, 3e38, 1e-40, float("nan"), float("inf"), -float("inf"))
Mutation = Callable[[bytes, random.Random], bytes]


def signed(content: bytes) -> bytes:
    """A file whose sum is right, as someone who means harm would make it."""
    return content + hashlib.sha256(content).digest()


def unsigned(content: bytes) -> bytes:
    return content[:-SUM_BYTES]


def flip_bit(content: bytes, rng: random.Random) -> bytes:
    changed = bytearray(content)
    changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def cut(content: bytes, rng: random.Random) -> bytes:
    return content[: rng.choice((0, 1, 31, 32, 40, rng.randrange(len(content))))]


def zipped(content: bytes, rng: random.Random) -> bytes:
    """What PyTorch would read, as checkpoints were before: with pickles, and zeros that are packed."""
    file, packed = io.BytesIO(), io.BytesIO()
    torch.save({"epoch": 0, "model": torch.zeros(rng.choice((1, 10_000_000)))}, file)
    with zipfile.ZipFile(file) as source, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            target.writestr(name, source.read(name))
    return packed.getvalue()


def change_some_bytes(content: bytes, rng: random.Random) -> bytes:
    return change_bytes(unsigned(content), rng)


def change_plain(content: bytes, rng: random.Random) -> bytes:
    """Other plain values, or other names of them."""
    header, tensors = split(unsigned(content))
    state: Any = json.loads(header["__metadata__"][PLAIN])
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        # The description of the run is most of it, and each of its values is compared.
        part = rng.choice((None, None, "metrics", "scaler", "loss", "rates", "run"))
        inner = state.get(part) if isinstance(state, dict) else None
        if inner and isinstance(inner, dict | list):
            state[part] = change_value(inner, rng)
        elif state and isinstance(state, dict | list):
            state = change_value(state, rng)
    text = json.dumps(state)
    if rng.random() < 0.1:
        start = rng.randrange(len(text))
        text = text[:start] + rng.choice(HOSTILE_TEXT) + text[start + rng.choice((0, 1, len(text))) :]
    header["__metadata__"][PLAIN] = text
    return join(json.dumps(header), tensors)


def change_header(content: bytes, rng: random.Random) -> bytes:
    """Tensors that say something else of themselves, are missing, or have other names; other metadata."""
    header, tensors = split(unsigned(content))
    how, names = rng.randrange(6), [name for name in header if name != "__metadata__"]
    one, other = rng.sample(names, 2)
    if how == 0:
        field = rng.choice(("data_offsets", "shape", "dtype"))
        header[one][field] = (
            rng.choice(("F16", "BF16", "F64", "I32", "F8_E4M3", "BOOL")) if field == "dtype" else header[other][field]
        )
    elif how == 1:
        header[one], header[other] = header[other], header[one]
    elif how == 2:  # tensors with another name keep their bytes
        header[rng.choice((f"{one}x", one.partition(".")[2], f"model.{one}", "a" * 3000, "\x1b[2J"))] = header.pop(one)
    elif how == 3:
        del header[one]
        header |= {f"model.{i}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for i in range(1000)}
    elif how == 4:
        header["__metadata__"] = rng.choice((None, {}, [], {PLAIN: 1}, {PLAIN: "[]"}, {"format": "pt"}))
    else:
        header[one] = change_value(header[one], rng)
    content = join(json.dumps(header), tensors)
    if rng.random() < 0.1:
        return struct.pack("<Q", rng.choice((0, 2**20, 2**40, 2**63, 2**64 - 1))) + content[8:]
    return content


def change_tensors(content: bytes, rng: random.Random) -> bytes:
    """Other values, among them such that no training goes on with."""
    header, tensors = split(unsigned(content))
    changed = bytearray(tensors)
    # Weights and their averages, what the optimiser keeps, and steps have the same chance.
    groups = [".step", "exp_avg_sq", "running_var", "optimizer.", "average.", "model."]
    wanted = rng.choice([group for group in groups if any(group in name for name in header)])
    for _ in range(rng.choice((1, 3, 100))):
        start, end = rng.choice([entry["data_offsets"] for name, entry in header.items() if wanted in name])
        place = rng.randrange(start, end, 4)
        changed[place : place + 4] = struct.pack("<f", rng.choice(VALUES[: rng.choice((4, 7))]))
    return join(json.dumps(header), bytes(changed))


def larger(content: bytes, rng: random.Random) -> bytes:
    """More bytes than a checkpoint of this training can have, in tensors or in the header."""
    header, tensors = split(unsigned(content))
    more = rng.choice((2**20, 2**25))
    if rng.random() < 0.5:
        header["model.more"] = {
            "dtype": "U8",
            "shape": [more],
            "data_offsets": [len(tensors), len(tensors) + more],
        }
        return join(json.dumps(header), tensors + bytes(more))
    header["__metadata__"]["more"] = "[]," * (more // 3)
    return join(json.dumps(header), tensors)


# Those with a right sum, and those with the sum of something else, or none.
SIGNED: tuple[Mutation, ...] = (change_plain, change_plain, change_header, change_tensors, change_some_bytes, larger)
UNSIGNED: tuple[Mutation, ...] = (flip_bit, cut, zipped, change_bytes)
