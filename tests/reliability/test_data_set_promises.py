"""Sets of data from strangers: whole ones load, of broken ones one error names the file, and none takes much."""

import ast
import atexit
import gzip
import shutil
import struct
import tarfile
import tempfile
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch
from cases import MIB, SEEDS, call, cases
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image
from torch import Tensor

from grapheme_pyg import VisionBrain, datasets
from grapheme_pyg.datasets import GraphCache, ImageDataset, cifar10, load_cifar10, load_image_folder, read_idx
from grapheme_pyg.datasets.mnist5k import load_mnist5k
from grapheme_pyg.errors import DatasetError

ARRAYS = arrays.arrays(np.uint8, arrays.array_shapes(max_dims=4, max_side=9))
# None: as it is; else the level of gzip.
LEVELS = st.none() | st.integers(0, 9)
# Of the processor; and memory beyond six times what a set holds: far less than a bomb.
SECONDS, SLACK = 5.0, 24.0


def check(
    load: Callable[[], Sequence[Tensor]], named: Path, expected: Sequence[Tensor] | None, *, either: bool = False
) -> None:
    """Requires what was written, or one DatasetError that names the file.

    Args:
        load: Loads it.
        named: In the message.
        expected: What was written; None if it must be refused.
        either: Whether it may be refused though it is given: damage may spare what is read.
    """
    most = 6 * sum(tensor.numel() for tensor in expected or ()) / MIB + SLACK
    made = call(load)
    if made.mib > most:  # What takes memory in a file does so each time; what the allocator keeps does not.
        made = call(load)
    if made.error is not None:
        assert expected is None or either, f"expected data, got {made.error}"
        if type(made.error) is not DatasetError:
            raise made.error
        message = str(made.error)
        assert str(named) in message, f"expected a message that names {named}, got {message}"
        assert ": expected " in message, f"expected a message that says what was expected, got {message}"
    else:
        assert expected is not None, "expected a DatasetError, got data"
        assert len(made.result) == len(expected)
        assert all(map(torch.equal, made.result, expected)), "expected what was written, got other data"
    made.require(seconds=SECONDS, mib=most)


@cache
def base() -> Path:
    """A folder that goes when this process ends."""
    path = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path


@cache
def bomb() -> bytes:
    """A gzip file of 128 MiB of zeros: a further member of any other."""
    return gzip.compress(bytes(128 * MIB), 1)


def flipped(content: bytes, random: Random) -> bytes:
    """One to three bits changed."""
    data = bytearray(content)
    for _ in range(random.randint(1, 3)):
        data[random.randrange(len(data))] ^= 1 << random.randrange(8)
    return bytes(data)


def packed(content: bytes, level: int | None) -> bytes:
    return content if level is None else gzip.compress(content, level)


class TestIdx:
    @staticmethod
    def encode(array: "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]") -> bytes:
        return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()

    @staticmethod
    def check(content: bytes, expected: object = None, *, either: bool = False) -> None:
        path = base() / "array-idx"
        path.write_bytes(content)
        tensors = None if expected is None else [torch.from_numpy(expected)]
        check(lambda: [read_idx(path)], path, tensors, either=either)

    @cases(20)
    @given(array=ARRAYS, level=LEVELS)
    def test_what_was_written_comes_back(self, array: object, level: int | None) -> None:
        self.check(packed(self.encode(array), level), array)

    @cases(20)
    @given(array=ARRAYS, level=LEVELS, data=st.data())
    def test_a_cut_file(self, array: object, level: int | None, data: st.DataObject) -> None:
        content = packed(self.encode(array), level)
        self.check(content[: data.draw(st.integers(0, len(content) - 1))])

    @cases(20)
    @given(array=ARRAYS, level=LEVELS, more=st.binary(min_size=1), outside=st.booleans())
    def test_more_than_there_should_be(self, array: object, level: int | None, more: bytes, outside: bool) -> None:
        content = self.encode(array)
        self.check(gzip.compress(content) + b"x" + more if outside else packed(content + more, level))

    @cases(20)
    @given(array=ARRAYS, seed=SEEDS)
    def test_damaged_gzip(self, array: object, seed: int) -> None:
        self.check(flipped(gzip.compress(self.encode(array)), Random(seed)), array, either=True)

    @cases(20)
    @given(which=st.integers(0, 2), count=st.integers(0, 2**32 - 1) | st.integers(0, 9), level=LEVELS)
    def test_counts_that_lie(self, which: int, count: int, level: int | None) -> None:
        counts = [5, 6, 7]
        same = count == counts[which]
        counts[which] = count
        content = b"\0\0\x08\x03" + struct.pack(">3I", *counts) + bytes(5 * 6 * 7)
        self.check(packed(content, level), np.zeros((5, 6, 7), np.uint8) if same else None)

    @cases(20)
    @given(head=st.binary(max_size=4), rest=st.binary(max_size=40), level=LEVELS)
    def test_any_bytes(self, head: bytes, rest: bytes, level: int | None) -> None:
        if (head + rest)[:3] != b"\0\0\x08":
            self.check(packed(head + rest, level))

    @cases(4)
    @given(array=ARRAYS, before=st.booleans(), short=st.booleans())
    def test_bombs(self, array: object, before: bool, short: bool) -> None:
        content = self.encode(array)
        zipped = gzip.compress(content[: len(content) // 2 if short else None])
        self.check(bomb() + zipped if before else zipped + 3 * bomb())

    def test_many_members_and_long_names(self) -> None:
        array = np.arange(12, dtype=np.uint8).reshape(3, 4)
        parts = gzip.compress(self.encode(array)[:7]) + gzip.compress(self.encode(array)[7:])
        self.check(5 * gzip.compress(b"") + parts, array)
        named = b"\x1f\x8b\x08\x08" + bytes(6) + 2 * MIB * b"x" + b"\0"
        self.check(named + gzip.compress(self.encode(array))[10:], array)


class TestCifar10:
    NAMES = (*cifar10.TRAIN, *cifar10.TEST)

    @pytest.fixture(autouse=True)
    def _few(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(cifar10, "PER_FILE", 3)

    @staticmethod
    def member(name: str, content: bytes) -> bytes:
        """A header of tar, its content, and what fills the block."""
        info = tarfile.TarInfo(f"{cifar10.FOLDER}/{name}")
        info.size = len(content)
        return info.tobuf() + content + bytes(-len(content) % 512)

    @staticmethod
    def header(kind: bytes, size: int) -> bytes:
        info = tarfile.TarInfo("long")
        info.size, info.type = size, kind
        return info.tobuf()

    def archive(self, random: Random) -> tuple[bytes, list[Tensor]]:
        """An archive whose members are in any order, some of which are not asked for; and what is in it."""
        generator, size = np.random.default_rng(random.getrandbits(32)), (3, cifar10.RECORD)
        files = {name: torch.from_numpy(generator.integers(0, 256, size, np.uint8)) for name in self.NAMES}
        for records in files.values():
            records[:, 0] %= 10
        members = [self.member(name, records.numpy().tobytes()) for name, records in files.items()]
        members.append(self.member("readme.html", random.randbytes(88)))
        random.shuffle(members)
        train = torch.cat([files[name] for name in cifar10.TRAIN])
        parts = [(part[:, 1:].view(-1, 3, 32, 32), part[:, 0].long()) for part in (train, files[self.NAMES[-1]])]
        return b"".join([*members, bytes(1024)]), [tensor for part in parts for tensor in part]

    def check(self, content: bytes, expected: list[Tensor] | None, *, either: bool = False) -> None:
        path = base() / cifar10.ARCHIVE
        path.write_bytes(content)

        def load() -> list[Tensor]:
            data = load_cifar10(base())
            return [data.train.images, data.train.labels, data.test.images, data.test.labels]

        check(load, path, expected, either=either)

    @cases(3)
    @given(seed=SEEDS)
    def test_whole_and_damaged_archives(self, seed: int) -> None:
        random = Random(seed)
        tar, tensors = self.archive(random)
        content = gzip.compress(tar, 1)
        self.check(content, tensors)
        self.check(content[: random.randrange(len(content))], tensors, either=True)
        self.check(flipped(content, random), tensors, either=True)

    @cases(6)
    @given(seed=SEEDS)
    def test_damaged_headers(self, seed: int) -> None:
        """Below gzip, whose checksum is right: whatever tarfile makes of headers, it is refused or what was written."""
        random = Random(seed)
        whole, tensors = self.archive(random)
        tar = bytearray(whole)
        starts = [at for at in range(0, len(tar), 512) if tar[at : at + 5] == b"cifar"]
        for _ in range(random.randint(1, 4)):
            at = random.choice(starts)
            tar[at + random.randrange(512)] = random.randrange(256)
            if random.random() < 0.7:  # a checksum that is right
                block = tar[at : at + 512]
                block[148:156] = b" " * 8
                tar[at + 148 : at + 156] = b"%06o\0 " % sum(block)
        self.check(gzip.compress(tar, 1), tensors, either=True)

    @pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME])
    def test_bombs(self, kind: bytes) -> None:
        tar, _ = self.archive(Random(0))
        zipped = gzip.compress(tar, 1)
        # A member, a name or a table of attributes of such a length; something behind the last; headers of headers.
        self.check(gzip.compress(self.header(kind, 128 * MIB)) + bomb() + zipped, None)
        self.check(zipped + bomb(), None)
        self.check(gzip.compress(self.header(tarfile.GNUTYPE_LONGNAME, 0) * 9000 + tar), None)


@cases(4)
@given(seed=SEEDS)
def test_tables_of_others_are_refused(seed: int) -> None:
    random = Random(seed)
    rows = "\n".join(",".join(map(str, [*random.choices(range(256), k=784), row // 20])) for row in range(200))
    content, path = gzip.compress(rows.encode(), 1), base() / "mnist_5k.csv.gz"
    wrong = random.choice(("256", "-1", "x", "", "9" * 40, "nan"))
    for table in (
        content[: random.randrange(len(content))],
        flipped(content, random),
        content + bomb(),
        gzip.compress(rows.replace(",7,", f",{wrong},").encode(), 1),
    ):
        path.write_bytes(table)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("grapheme_pyg.datasets.mnist5k._find_csv", lambda: path)
            check(lambda: list(load_mnist5k().train), path, None)


@cases(4)
@given(pictures=st.lists(st.lists(arrays.arrays(np.uint8, (4, 5)), min_size=1, max_size=3), min_size=2, max_size=4))
def test_folders_with_what_does_no_harm(pictures: list[list[object]]) -> None:
    folder = Path(tempfile.mkdtemp(dir=base()))
    for label, some in enumerate(pictures):
        for number, array in enumerate(some):
            path = folder / f"class{label}" / ("", "more", "more/still")[number] / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(path)
    inside = folder / "class0"
    for name in (".hidden.png", "notes.txt", "../picture.png", "../.hidden"):
        (inside / name).write_text("no picture")
    (inside / "round").symlink_to(inside)
    (inside / "up").symlink_to(folder)

    def load() -> list[Tensor]:
        found = load_image_folder(folder, 1)
        return [*found.images, found.labels]

    images = [torch.from_numpy(array)[None] for some in pictures for array in some]
    labels = torch.tensor([label for label, some in enumerate(pictures) for _ in some])
    check(load, folder, [*images, labels])


@cases(6)
@given(name=st.sampled_from(["graphs.db", "sizes.safetensors"]), seed=SEEDS)
def test_damaged_caches_of_graphs(name: str, seed: int) -> None:
    random, folder = Random(seed), Path(tempfile.mkdtemp(dir=base()))
    images = ImageDataset(torch.from_numpy(np.random.default_rng(0).integers(0, 256, (6, 9, 9), np.uint8)), range(6))

    def read() -> list[Tensor]:
        cache_ = GraphCache(folder, images, VisionBrain())
        try:
            graphs = [cache_[0], *cache_.multi_get(range(1, 6))]
        finally:
            cache_.close()
        return [graph[field] for graph in graphs for field in ("x", "pos", "edge_index", "edge_type", "level", "y")]

    tensors = read()
    check(read, folder, tensors)
    path = folder / "processed" / name
    content = path.read_bytes()
    for damaged in (content[: random.randrange(len(content))], random.randbytes(random.randrange(5000))):
        path.write_bytes(damaged)
        check(read, folder, None)
    at = random.randrange(len(content))
    for damaged in (flipped(content, random), content[:at] + random.randbytes(500) + content[at + 500 :]):
        path.write_bytes(damaged)
        check(read, folder, tensors, either=True)


def test_nothing_in_the_code_depends_on_assertions() -> None:
    # So that all holds under ``python -O``.
    for path in Path(datasets.__file__).parent.glob("*.py"):
        found = [
            node.lineno
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Assert) or (isinstance(node, ast.Name) and node.id == "__debug__")
        ]
        assert found == [], path


def refuse() -> list[Tensor]:
    raise DatasetError("/data/file: expected this, got that")


@pytest.mark.parametrize(
    ("load", "expected", "message"),
    [
        (list, None, "expected a DatasetError, got data"),
        (refuse, [torch.zeros(2)], "expected data, got"),
        (lambda: [torch.ones(2)], [torch.zeros(2)], "expected what was written, got other data"),
        (lambda: [1 // 0], None, "division"),
        (lambda: [torch.ones(64 * MIB, dtype=torch.uint8)[:1]], [torch.ones(1)], r"expected 24\.\d* MiB at most"),
    ],
)
def test_what_is_wrong_is_noticed(
    load: Callable[[], list[Tensor]], expected: list[Tensor] | None, message: str
) -> None:
    with pytest.raises((AssertionError, ZeroDivisionError), match=message):
        check(load, Path("/data/file"), expected)


def test_what_is_right_passes() -> None:
    check(refuse, Path("/data/file"), None)
    check(refuse, Path("/data/file"), [torch.zeros(2)], either=True)
    with pytest.raises(AssertionError, match="expected a message that names"):
        check(refuse, Path("/data/other"), None)
