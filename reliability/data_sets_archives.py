"""CIFAR-10's archive and files, the table of 5,000 digits, and downloads; whole and broken."""

import gzip
import os
import tarfile
import threading
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from random import Random
from unittest.mock import patch

import torch
from data_sets_idx import TINY, bomb, encode, flipped, four_tensors, random_bytes
from data_sets_trial import MIB, BrokenPromiseError, Trial
from torch import Tensor

from grapheme_pyg.datasets import DownloadError, ImageData, cifar10, load_cifar10, load_idx_data, load_mnist5k
from grapheme_pyg.datasets.mnist_specs import FILES, SPECS

# Images in each file; the real ones have 10,000.
COUNT = 3
NAMES = (*cifar10.TRAIN, *cifar10.TEST)


def _tensors(data: ImageData) -> list[Tensor]:
    return [data.train.images, data.train.labels, data.test.images, data.test.labels]


def _records(random: Random) -> dict[str, Tensor]:
    files = {name: random_bytes(random, COUNT, cifar10.RECORD) for name in NAMES}
    for records in files.values():
        records[:, 0] %= 10
    return files


def _contents(files: dict[str, Tensor]) -> dict[str, bytes]:
    return {name: records.numpy().tobytes() for name, records in files.items()}


def _expected(files: dict[str, Tensor]) -> list[Tensor]:
    train = torch.cat([files[name] for name in cifar10.TRAIN])
    parts = [(records[:, 1:].view(-1, 3, 32, 32), records[:, 0].long()) for records in (train, files[NAMES[-1]])]
    return [tensor for part in parts for tensor in part]


def _cifar(folder: Path, named: Path | str, expected: Sequence[Tensor] | None, *, either: bool = False) -> Trial:
    def load() -> list[Tensor]:
        with patch.object(cifar10, "PER_FILE", COUNT):
            return _tensors(load_cifar10(folder))

    return Trial(load, expected, len(NAMES) * COUNT * cifar10.RECORD, str(named), either=either)


def _member(name: str, content: bytes, kind: bytes = tarfile.REGTYPE, link: str = "") -> bytes:
    """A header of tar, its content, and what fills the block."""
    info = tarfile.TarInfo(f"{cifar10.FOLDER}/{name}")
    info.size, info.type, info.linkname = len(content), kind, link
    return info.tobuf() + content + bytes(-len(content) % 512)


def _header(kind: bytes, size: int) -> bytes:
    info = tarfile.TarInfo("long")
    info.size, info.type = size, kind
    return info.tobuf()


def _archive(random: Random, contents: dict[str, bytes]) -> bytes:
    """An archive whose members are in any order, some of which are not asked for."""
    members = [_member(name, content) for name, content in contents.items()]
    members += [_member("readme.html", random.randbytes(88)), _member("batches.meta.txt", random.randbytes(61))]
    random.shuffle(members)
    return b"".join([*members, bytes(1024)])


def _write(folder: Path, tar: bytes, further: bytes = b"") -> Path:
    path = folder / cifar10.ARCHIVE
    path.write_bytes(gzip.compress(tar, 1) + further)
    return path


def whole_cifar(random: Random, folder: Path) -> Trial:
    files = _records(random)
    if random.random() < 0.5:
        for name, content in _contents(files).items():
            (folder / name).write_bytes(content)
    else:
        _write(folder, _archive(random, _contents(files)))
    return _cifar(folder, folder, _expected(files))


def damaged_archive(random: Random, folder: Path) -> Trial:
    files = _records(random)
    path = _write(folder, _archive(random, _contents(files)))
    content = path.read_bytes()
    shortened = random.random() < 0.4
    path.write_bytes(content[: random.randrange(len(content))] if shortened else flipped(random, content))
    return _cifar(folder, path, _expected(files), either=True)


def damaged_headers(random: Random, folder: Path) -> Trial:
    """Below gzip, whose checksum is right: whatever tarfile makes of headers, it is refused or what was written."""
    files = _records(random)
    tar = bytearray(_archive(random, _contents(files)))
    starts = [at for at in range(0, len(tar), 512) if tar[at : at + 5] == b"cifar"]
    for _ in range(random.randint(1, 4)):
        at = random.choice(starts)
        tar[at + random.randrange(512)] = random.randrange(256)
        if random.random() < 0.7:  # a checksum that is right
            block = tar[at : at + 512]
            block[148:156] = b" " * 8
            tar[at + 148 : at + 156] = b"%06o\0 " % sum(block)
    path = _write(folder, bytes(tar))
    return _cifar(folder, path, _expected(files), either=True)


def archive_bomb(random: Random, folder: Path) -> Trial:
    contents = _contents(_records(random))
    tar = _archive(random, contents)
    kind = random.randrange(4)
    if kind == 0:  # behind the last member
        path = _write(folder, tar, bomb())
    elif kind == 1:  # a member that is not asked for
        path = _write(folder, _header(tarfile.REGTYPE, 128 * MIB), bomb() + gzip.compress(tar, 1))
    elif kind == 2:  # a name or a table of attributes of such a length
        header = _header(random.choice((tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME)), 128 * MIB)
        path = _write(folder, header, bomb() + gzip.compress(tar, 1))
    else:  # headers of headers of headers
        path = _write(folder, _header(tarfile.GNUTYPE_LONGNAME, 0) * random.choice((500, 1500, 9000)) + tar)
    return _cifar(folder, path, None)


def wrong_files(random: Random, folder: Path) -> Trial:
    files = _records(random)
    name = random.choice(NAMES)
    contents = _contents(files)
    kind = random.randrange(3)
    if kind == 0:
        contents[name] = contents[name][: random.randrange(len(contents[name]))]
    elif kind == 1:
        contents[name] += random.randbytes(random.choice((1, cifar10.RECORD, 2 * MIB)))
    else:
        files[name][random.randrange(COUNT), 0] = random.randint(10, 255)
        contents[name] = files[name].numpy().tobytes()
    if random.random() < 0.5:
        _write(folder, _archive(random, contents))
    else:
        for other, content in contents.items():
            (folder / other).write_bytes(content)
    return _cifar(folder, name, None)


def wrong_members(random: Random, folder: Path) -> Trial:
    """One file is lacking, and perhaps there is something else by its name."""
    contents = _contents(_records(random))
    name = random.choice(NAMES)
    content = contents.pop(name)
    kinds = (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE)
    kind = random.choice((None, *kinds, tarfile.GNUTYPE_SPARSE))
    links = random.choice(("/etc/passwd", f"{cifar10.FOLDER}/{name}", f"{cifar10.FOLDER}/{NAMES[0]}"))
    wrong = b""
    if kind is not None:
        wrong = _member(name, content if kind == tarfile.GNUTYPE_SPARSE else b"", kind, links)
    return _cifar(folder, _write(folder, wrong + _archive(random, contents)), None)


def broken_table(random: Random, folder: Path) -> Trial:
    rows = "\n".join(",".join(map(str, [*random.choices(range(256), k=784), row // 20])) for row in range(200))
    content = gzip.compress(rows.encode(), 1)
    kind = random.randrange(5)
    if kind == 0:
        content = content[: random.randrange(len(content))]
    elif kind == 1:
        content = flipped(random, content)
    elif kind == 2:
        content += bomb()
    elif kind == 3:
        wrong = random.choice(("256", "-1", "x", "", "9" * 40, "nan"))
        content = gzip.compress(rows.replace(",7,", f",{wrong},").encode(), 1)
    path = folder / "mnist_5k.csv.gz"
    path.write_bytes(content)

    def load() -> list[Tensor]:
        with patch("grapheme_pyg.datasets.mnist5k._find_csv", return_value=path):
            return _tensors(load_mnist5k())

    return Trial(load, None, 20 * MIB, str(path))


class _Mirror:
    """A web server on this machine, for the time of one load."""

    def __init__(self, answers: dict[str, tuple[bytes, int]]) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body, length = answers.get(self.path, (b"", -1))
                self.send_response(200 if length >= 0 else 404)
                self.send_header("Content-Length", str(max(length, 0)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    def __enter__(self) -> str:
        threading.Thread(target=self.server.serve_forever, args=(0.01,)).start()
        return f"http://127.0.0.1:{self.server.server_port}"

    def __exit__(self, *error: object) -> None:
        self.server.shutdown()
        self.server.server_close()


def downloads(random: Random, folder: Path) -> Trial:
    files = four_tensors(random)
    archives = {f"/{name}.gz": gzip.compress(encode(tensor)) for name, tensor in files.items()}
    answers = {path: (content, len(content)) for path, content in archives.items()}
    at = random.randrange(len(FILES))
    broken = f"/{FILES[at]}.gz"
    content = archives[broken]
    kind = random.randrange(6)
    if kind == 0:  # the connection closes early
        answers[broken] = content[: random.randrange(len(content))], len(content)
    elif kind == 1:
        short = content[: random.randrange(len(content))]
        answers[broken] = short, len(short)
    elif kind == 2:
        more = content + random.choice((b"x", bomb(), bytes(2 * MIB)))
        answers[broken] = more, len(more)
    elif kind == 3:
        del answers[broken]
    elif kind == 4:
        answers[broken] = gzip.compress(encode(random_bytes(random, 3, 4, 4))), 10
    target = folder / "grapheme_pyg" / "tiny"

    def load() -> list[Tensor]:
        environment = {"XDG_CACHE_HOME": str(folder), "GRAPHEME_DATA": "", "NO_PROXY": "*", "no_proxy": "*"}
        with patch.dict(SPECS, tiny=TINY), patch.dict(os.environ, environment), _Mirror(answers) as url:
            return _tensors(load_idx_data("tiny", mirrors=[url]))

    def look() -> None:
        there = sorted(path.name for path in target.iterdir())
        whole = sorted(f"{name}.gz" for name in FILES[: at if kind < 5 else None])
        if there != whole:
            raise BrokenPromiseError(f"expected {whole} to be kept, got {there}")

    expected = [tensor.long() if "labels" in name else tensor for name, tensor in files.items()]
    return Trial(load, expected if kind == 5 else None, 10_000, broken, DownloadError, after=look)


KINDS: tuple[Callable[[Random, Path], Trial], ...] = (
    whole_cifar,
    damaged_archive,
    damaged_headers,
    archive_bomb,
    wrong_files,
    wrong_members,
    broken_table,
    downloads,
)
