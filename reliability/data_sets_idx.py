"""IDX files, whole and broken, alone and as the four files of a set."""

import dataclasses
import gzip
import hashlib
import os
import struct
from collections.abc import Callable
from functools import cache
from pathlib import Path
from random import Random
from unittest.mock import patch

import torch
from data_sets_trial import MIB, Trial, as_stranger
from torch import Tensor

from grapheme_pyg.datasets import load_idx_data, read_idx
from grapheme_pyg.datasets.mnist_specs import FILES, SPECS, IdxSpec

SIDE = (4, 4)
TINY = IdxSpec("tiny", tuple("0123456789"), (), counts=(20, 10), size=SIDE)


def random_bytes(random: Random, *shape: int, below: int = 256) -> Tensor:
    generator = torch.Generator().manual_seed(random.getrandbits(60))
    return torch.randint(below, shape, generator=generator, dtype=torch.uint8)


def encode(tensor: Tensor) -> bytes:
    head = bytes([0, 0, 8, tensor.dim()]) + struct.pack(f">{tensor.dim()}I", *tensor.shape)
    return head + tensor.numpy().tobytes()


@cache
def bomb() -> bytes:
    """A gzip file of 128 MiB of zeros: a further member of any other."""
    return gzip.compress(bytes(128 * MIB), 1)


def flipped(random: Random, content: bytes) -> bytes:
    """One to three bits changed."""
    data = bytearray(content)
    for _ in range(random.randint(1, 3)):
        data[random.randrange(len(data))] ^= 1 << random.randrange(8)
    return bytes(data)


def _array(random: Random) -> Tensor:
    return random_bytes(random, *(random.randint(1, 9) for _ in range(random.randint(1, 4))))


def _packed(random: Random, content: bytes) -> bytes:
    return gzip.compress(content, random.randint(0, 9)) if random.random() < 0.5 else content


def _file(folder: Path, content: bytes, expected: Tensor | None = None, *, either: bool = False) -> Trial:
    path = folder / "array-idx"
    path.write_bytes(content)
    honest = 10_000 if expected is None else expected.numel()
    return Trial(lambda: [read_idx(path)], None if expected is None else [expected], honest, str(path), either=either)


def whole(random: Random, folder: Path) -> Trial:
    tensor = random_bytes(random, 3 * MIB) if random.random() < 0.1 else _array(random)
    return _file(folder, _packed(random, encode(tensor)), tensor)


def cut(random: Random, folder: Path) -> Trial:
    content = _packed(random, encode(_array(random)))
    return _file(folder, content[: random.randrange(len(content))])


def too_long(random: Random, folder: Path) -> Trial:
    content = encode(_array(random))
    more = random.randbytes(random.choice((1, 2, 5000)))
    if random.random() < 0.3:  # behind the gzip file rather than in it
        return _file(folder, gzip.compress(content) + b"x" + more)
    return _file(folder, _packed(random, content + more))


def lying_counts(random: Random, folder: Path) -> Trial:
    tensor = random_bytes(random, 5, 6, 7)
    counts = [5, 6, 7]
    counts[random.randrange(3)] = random.choice((0, 1, 4, 8, 1 << 10, 1 << 20, (1 << 31) - 1, 1 << 31, (1 << 32) - 1))
    content = b"\0\0\x08\x03" + struct.pack(">3I", *counts) + tensor.numpy().tobytes()
    return _file(folder, _packed(random, content))


def wrong_header(random: Random, folder: Path) -> Trial:
    content = bytearray(encode(random_bytes(random, 3, 5)))
    kind = random.randrange(4)
    if kind == 0:  # another type
        content[2] = random.choice([value for value in range(256) if value != 8])
    elif kind == 1:  # more or fewer dimensions
        content[3] = random.choice([0, 1, 3, *range(4, 256)])
    elif kind == 2:
        content[random.randrange(2)] = random.randint(1, 255)
    else:
        content = bytearray(random.randbytes(random.randrange(200)))
    return _file(folder, _packed(random, bytes(content)))


def gzip_bomb(random: Random, folder: Path) -> Trial:
    content = encode(_array(random))
    if random.random() < 0.5:  # what is lacking comes, and far more
        content = content[: random.randrange(len(content))]
    zipped = gzip.compress(content)
    return _file(folder, zipped + 3 * bomb() if random.random() < 0.8 else bomb() + zipped)


def damaged_gzip(random: Random, folder: Path) -> Trial:
    tensor = _array(random)
    return _file(folder, flipped(random, gzip.compress(encode(tensor))), tensor, either=True)


def strange_gzip(random: Random, folder: Path) -> Trial:
    """What the format allows: several members, some of them empty, and a name of any length."""
    tensor = _array(random)
    content = encode(tensor)
    at = random.randrange(len(content))
    many = random.random() < 0.5
    if random.random() < 0.5:
        empty = gzip.compress(b"") * (100_000 if many else random.randrange(9))
        zipped = empty + gzip.compress(content[:at]) + gzip.compress(content[at:])
    else:
        name = bytes(random.choices(range(1, 256), k=random.randrange(200))) + b"x" * (many * 2 * MIB)
        zipped = b"\x1f\x8b\x08\x08" + bytes(6) + name + b"\0" + gzip.compress(content)[10:]
    return _file(folder, zipped, tensor)


def wrong_hash(random: Random, folder: Path) -> Trial:
    tensor = _array(random)
    path = folder / "array-idx"
    path.write_bytes(_packed(random, encode(tensor)))
    right = random.random() < 0.3
    digest = hashlib.sha256(encode(tensor) if right else random.randbytes(9)).hexdigest()
    return Trial(lambda: [read_idx(path, sha256=digest)], [tensor] if right else None, 10_000, str(path))


def four_tensors(random: Random) -> dict[str, Tensor]:
    return {
        name: random_bytes(random, count, below=10) if "labels" in name else random_bytes(random, count, *SIDE)
        for name, count in zip(FILES, (20, 20, 10, 10), strict=True)
    }


def _four(random: Random, folder: Path, files: dict[str, Tensor], named: str, spec: IdxSpec = TINY) -> Trial:
    """The four files; with the name of the broken one."""
    at = folder / random.choice(("", "tiny"))
    at.mkdir(exist_ok=True)
    spelling, suffix = random.choice(("-idx", ".idx")), random.choice(("", ".gz"))
    paths = {name: at / (name.replace("-idx", spelling) + suffix) for name in files}
    for name, tensor in files.items():
        paths[name].write_bytes(_packed(random, encode(tensor)))

    def load() -> list[Tensor]:
        with patch.dict(SPECS, tiny=spec):
            data = load_idx_data("tiny", folder)
        return [data.train.images, data.train.labels, data.test.images, data.test.labels]

    expected = [tensor.long() if "labels" in name else tensor for name, tensor in files.items()]
    return Trial(load, None if named else expected, 10_000, str(paths.get(named, "")))


def whole_set(random: Random, folder: Path) -> Trial:
    files = four_tensors(random)
    digests = tuple(hashlib.sha256(encode(tensor)).hexdigest() for tensor in files.values())
    first, second, third, fourth = digests
    spec = dataclasses.replace(TINY, sha256=(first, second, third, fourth)) if random.random() < 0.5 else TINY
    return _four(random, folder, files, "", spec)


def images_and_labels_differ(random: Random, folder: Path) -> Trial:
    files = four_tensors(random)
    name = random.choice(FILES)
    rows = random.choice([count for count in range(30) if count != len(files[name])])
    files[name] = random_bytes(random, rows, *files[name].shape[1:], below=10)
    return _four(random, folder, files, name)


def labels_out_of_range(random: Random, folder: Path) -> Trial:
    files = four_tensors(random)
    name = random.choice(FILES[1::2])
    files[name][random.randrange(len(files[name]))] = random.randint(10, 255)
    return _four(random, folder, files, name)


def files_of_others(random: Random, folder: Path) -> Trial:
    """One takes the place of another, or has another content than its checksum says."""
    files = four_tensors(random)
    name = random.choice(FILES)
    if random.random() < 0.5:
        files[name] = files[random.choice([other for other in FILES if other != name])]
        return _four(random, folder, files, name)
    digests = [hashlib.sha256(encode(tensor)).hexdigest() for tensor in files.values()]
    digests[FILES.index(name)] = hashlib.sha256(random.randbytes(9)).hexdigest()
    first, second, third, fourth = digests
    return _four(random, folder, files, name, dataclasses.replace(TINY, sha256=(first, second, third, fourth)))


def promised_bomb(random: Random, folder: Path) -> Trial:
    """An honest gzip file of far more than the set has."""
    files = four_tensors(random)
    trial = _four(random, folder, files, FILES[0])
    header = b"\0\0\x08\x03" + struct.pack(">3I", 1 << 17, 32, 32)
    Path(trial.named).write_bytes(gzip.compress(header) + bomb())
    return trial


def missing_file(random: Random, folder: Path) -> Trial:
    files = four_tensors(random)
    name = random.choice(FILES)
    trial = _four(random, folder, files, name)
    path = Path(trial.named)
    path.unlink()
    kind = random.randrange(4)
    if kind == 1:
        path.mkdir()
    elif kind == 2:
        path.symlink_to(path)
    elif kind == 3:
        path.symlink_to(folder / "nowhere")
    return dataclasses.replace(trial, named=name, error=FileNotFoundError)


def closed_file(random: Random, folder: Path) -> Trial:
    trial = _four(random, folder, four_tensors(random), random.choice(FILES))
    path = Path(trial.named)
    (path if random.random() < 0.5 or path.parent == folder else path.parent).chmod(0)

    def load() -> list[Tensor]:
        with as_stranger():
            return list(trial.load())

    return dataclasses.replace(trial, load=load, named=str(folder))


def no_file(random: Random, folder: Path) -> Trial:
    """What can be opened, and has no end or waits for somebody to write."""
    path = folder / "array-idx"
    kind = random.randrange(3)
    if kind == 0:
        os.mkfifo(path)
    else:
        path.symlink_to(("/dev/zero", "/dev/urandom")[kind - 1])
    return Trial(lambda: [read_idx(path)], None, 10_000, str(path))


KINDS: tuple[Callable[[Random, Path], Trial], ...] = (
    whole,
    cut,
    too_long,
    lying_counts,
    wrong_header,
    gzip_bomb,
    damaged_gzip,
    strange_gzip,
    wrong_hash,
    no_file,
    whole_set,
    images_and_labels_differ,
    labels_out_of_range,
    files_of_others,
    promised_bomb,
    missing_file,
    closed_file,
)
