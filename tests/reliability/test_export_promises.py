"""Exported models of strangers: what they read is read, or refused with one error, and takes little."""

import io
import json
import random
import zipfile
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from cases import MIB, SEEDS, call, cases
from hypothesis import given
from model_mutations import HOSTILE_TEXT, change_bytes, change_value

from grapheme_pyg import ImageClassificationModel, VisionBrain
from grapheme_pyg.errors import ModelFileError
from grapheme_pyg.export import InputFormat, graph_inputs, read_format

VISION = ({"mode": "grid"}, {"mode": "blob", "thresholds": (64,)}, {"mode": "hybrid"}, {"mode": "superpixel"})
# Of the processor, and MiB beside twice the size of the file, as of models.
SECONDS, OBJECTS = 0.5, 16.0


@cache
def original(kind: int, readout: str) -> InputFormat:
    vision = VisionBrain(**VISION[kind])
    return InputFormat.of(ImageClassificationModel(vision, ["a", "b"], readout=readout), 64)


def as_program(text: bytes, compression: int = zipfile.ZIP_STORED) -> bytes:
    with zipfile.ZipFile(file := io.BytesIO(), "w", compression) as archive:
        archive.writestr("model/models/model.json", "{}")
        archive.writestr("model/extra/format.json", text)
    return file.getvalue()


def varint(value: int) -> bytes:
    return (bytes([value & 127 | 128]) + varint(value >> 7)) if value > 127 else bytes([value])


def field(number: int, content: bytes) -> bytes:
    """A field of a message of protobuf."""
    return varint(8 * number + 2) + varint(len(content)) + content


def as_onnx(text: bytes) -> bytes:
    graph = field(7, field(1, b"a node"))
    return b"\x08\x0a" + graph + field(14, field(1, b"grapheme_pyg") + field(2, text))


WRITTEN: tuple[Callable[[bytes], bytes], ...] = (as_program, as_onnx)


def check(path: Path, content: bytes) -> InputFormat | None:
    """Reads what a model reads, or sees the file refused by an error that names it; neither may take much."""
    path.write_bytes(content)
    for _ in range(3):  # what takes time in the file does so each time
        made = call(lambda: read_format(path))
        if made.seconds <= SECONDS:
            break
    if made.error is not None:
        if type(made.error) is not ModelFileError:
            raise made.error
        assert str(made.error).startswith(f"{path}: "), f"expected an error that names the file, got {made.error}"
        assert str(made.error).isprintable()
    made.require(seconds=SECONDS, mib=2 * len(content) / MIB + OBJECTS)
    return made.result


def mutant(seed: int) -> tuple[InputFormat, bytes]:
    """A format, and a file in which a value or key, some JSON or some bytes are others."""
    rng = random.Random(seed)
    whole = original(rng.randrange(len(VISION)), rng.choice(("levels", "sinks")))
    write, text = rng.choice(WRITTEN), whole.to_json().encode()
    how = rng.randrange(4)
    if how <= 1:
        fields = json.loads(text)
        part = rng.choice((None, None, "vision", "classes"))
        changed = change_value(fields if part is None else fields[part], rng)
        return whole, write(json.dumps(changed if part is None else fields | {part: changed}).encode())
    if how == 2:
        start = rng.choice([0, *(i + 2 for i in range(len(text)) if text[i : i + 2] == b": ")])
        return whole, write(text[:start] + rng.choice(HOSTILE_TEXT).encode() + text[start + rng.choice((0, 1, 9)) :])
    return whole, change_bytes(write(text), rng)


@cases(25)
@given(seed=SEEDS)
def test_mutants_do_no_harm(seed: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    whole, content = mutant(seed)
    read = check(tmp_path_factory.getbasetemp() / "model", content)
    if read is None:
        return
    assert InputFormat.from_json(read.to_json()) == read
    assert all(isinstance(name, str) for name in read.classes)
    assert read.inputs.keys() == whole.inputs.keys() or read.vision != whole.vision or read.max_size != whole.max_size
    if read.vision == whole.vision and read.max_size == whole.max_size:
        graph = VisionBrain(**read.vision)(torch.eye(12))
        ours = graph_inputs(whole, graph)
        if read.readouts == whole.readouts:
            assert all(np.array_equal(array, ours[name]) for name, array in graph_inputs(read, graph).items())


@pytest.mark.parametrize("write", WRITTEN)
@pytest.mark.parametrize("kind", range(len(VISION)))
@pytest.mark.parametrize("readout", ["levels", "sinks"])
def test_what_is_whole_is_read(write: Callable[[bytes], bytes], kind: int, readout: str, tmp_path: Path) -> None:
    whole = original(kind, readout)
    assert check(tmp_path / "model", write(whole.to_json().encode())) == whole


def test_some_mutants_are_read(tmp_path: Path) -> None:
    # Else nothing would be learned of those.
    assert 2 <= sum(check(tmp_path / "model", mutant(seed)[1]) is not None for seed in range(60)) <= 30


def settings(**changed: object) -> bytes:
    return json.dumps(json.loads(original(0, "levels").to_json()) | changed).encode()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        # 33 KB that unpack to 32 MiB, and took twice as much.
        (as_program(bytes(2**25), zipfile.ZIP_DEFLATED), "expected an uncompressed file, got a compressed"),
        (
            as_program(settings(classes=[str(i) for i in range(50_000)])),
            r"format\.json: expected at most 2..,... bytes",
        ),
        (as_onnx(settings(classes=[str(i) for i in range(50_000)])), "grapheme_pyg: expected at most 2..,... bytes"),
        (as_onnx(b'{"a": ' + b"[]," * 80_000), "Expecting property name|Expecting value|Expecting ',' delimiter"),
        (b"\x0a\0" * 400_000, "another file"),
        (zlib.compress(b"no model"), "another file"),
        (as_program(settings(max_size=10**300)), "max_size: expected an integer in 1…16777216, got 10"),
        (as_program(settings(vision={"mode": "grid", "rounds": [4_000] * 3})), "expected at most 8192 relations"),
        (
            as_program(settings(vision={"mode": "blob", "blob_rounds": 60})),
            "rounds: expected at most 16 of an entity",
        ),
        (as_onnx(settings(classes=["\x1b[2J"])), "classes: expected distinct names"),
        (as_onnx(settings(single=0, edge_dim=10**40)), "edge_dim: expected 0, got 1000"),
        (as_onnx(settings(generations=[])), r"generations\[0\]: expected .*, got None"),
        (as_onnx(b"{}"), r"format: expected \('grapheme_pyg.export', 2\), got \(None, None\)"),
        (as_onnx(b"[" * 100_000), "recursion"),
        (as_onnx(b"\xff"), "decode"),
    ],
)
def test_what_is_too_much_is_refused(content: bytes, message: str, tmp_path: Path) -> None:
    assert check(tmp_path / "model", content) is None
    with pytest.raises(ModelFileError, match=message):
        read_format(tmp_path / "model")


def test_many_names_in_an_archive_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(file := io.BytesIO(), "w") as archive:
        for i in range(9_000):
            archive.writestr(f"{i}", b"")
    assert check(tmp_path / "model", file.getvalue()) is None
    with pytest.raises(ModelFileError, match="names: expected at most"):
        read_format(tmp_path / "model")
