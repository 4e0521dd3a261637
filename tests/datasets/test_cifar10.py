import gzip
import hashlib
import io
import tarfile
import tracemalloc

import numpy as np
import pytest
import torch

import grapheme_pyg.datasets.cifar10 as cifar10
from grapheme_pyg.datasets import load_cifar10
from grapheme_pyg.errors import DatasetError

NAMES = (*cifar10.TRAIN, *cifar10.TEST)


def content(count, seed):
    rng = np.random.default_rng(seed)
    records = rng.integers(0, 256, (count, cifar10.RECORD), dtype=np.uint8)
    records[:, 0] %= 10
    return records


@pytest.fixture
def files(monkeypatch):
    """Six small files of the real form."""
    monkeypatch.setattr(cifar10, "PER_FILE", 3)
    return {name: content(3, seed).tobytes() for seed, name in enumerate(NAMES)}


def unpacked(folder, files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)


def packed(folder, files):
    with tarfile.open(folder / cifar10.ARCHIVE, "w:gz") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))


@pytest.mark.parametrize("place", ["", "cifar10", "cifar-10-batches-bin", "cifar10/cifar-10-batches-bin"])
def test_files_are_found(tmp_path, files, place):
    unpacked(tmp_path / place, files)
    data = load_cifar10(tmp_path)
    assert data.name == "cifar10"
    assert data.train.images.shape == (15, 3, 32, 32)
    assert data.test.images.shape == (3, 3, 32, 32)
    assert data.train.images.dtype == torch.uint8
    # The fifth image is the second of the second file; red, green and blue follow the label.
    record = content(3, 1)[1]
    assert data.train.labels[4] == record[0]
    assert np.array_equal(data.train.images[4].numpy().ravel(), record[1:])
    assert data.classes[:2] == ("airplane", "automobile")


def test_an_archive_gives_the_same(tmp_path, files, monkeypatch):
    (tmp_path / "archive").mkdir()
    packed(tmp_path / "archive", files)
    unpacked(tmp_path / "files", files)
    monkeypatch.setenv("GRAPHEME_DATA", str(tmp_path / "archive"))
    first, second = load_cifar10(), load_cifar10(tmp_path / "files")
    for split in ("train", "test"):
        assert torch.equal(getattr(first, split).images, getattr(second, split).images)
        assert torch.equal(getattr(first, split).labels, getattr(second, split).labels)


@pytest.mark.parametrize(
    "change", [lambda data: data[:-1], lambda data: data + data, lambda data: b"", lambda data: b"\x0a" + data[1:]]
)
def test_wrong_files_are_named(tmp_path, files, change):
    files["data_batch_2.bin"] = change(files["data_batch_2.bin"])
    unpacked(tmp_path, files)
    with pytest.raises(ValueError, match=r"data_batch_2\.bin: expected "):
        load_cifar10(tmp_path)


@pytest.mark.parametrize("damage", ["cut", "other", "lacking"])
def test_wrong_archives_are_named(tmp_path, files, damage):
    if damage == "lacking":
        del files["test_batch.bin"]
    packed(tmp_path, files)
    path = tmp_path / cifar10.ARCHIVE
    if damage != "lacking":
        path.write_bytes(path.read_bytes()[:2000] if damage == "cut" else b"no archive")
    with pytest.raises(
        ValueError, match=r"cifar-10-binary\.tar\.gz: expected (CIFAR-10's archive, got |a whole gzip file)"
    ):
        load_cifar10(tmp_path)


def test_missing_files(tmp_path, files):
    unpacked(tmp_path, files)
    (tmp_path / "test_batch.bin").unlink()
    with pytest.raises(FileNotFoundError, match=r"expected cifar-10-binary\.tar\.gz, or data_batch_1\.bin, "):
        load_cifar10(tmp_path)


def archive_of(*members):
    """A gzipped archive of pieces of bytes."""
    return b"".join(gzip.compress(member, 1) for member in members)


def header(name, size, kind=tarfile.REGTYPE):
    member = tarfile.TarInfo(name)
    member.size, member.type = size, kind
    return member.tobuf()


@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME])
def test_a_bomb_before_the_files_is_not_unpacked(tmp_path, files, kind):
    packed(tmp_path, files)
    path = tmp_path / cifar10.ARCHIVE
    path.write_bytes(archive_of(header("x", 50 << 20, kind), bytes(50 << 20)) + path.read_bytes())
    tracemalloc.start()
    try:
        with pytest.raises(DatasetError, match=r"expected at most 1103890 bytes for its contents, but more follow"):
            load_cifar10(tmp_path)
        assert tracemalloc.get_traced_memory()[1] < 6 << 20
    finally:
        tracemalloc.stop()


def test_a_bomb_behind_the_files_and_a_wrong_checksum_of_gzip_are_noticed(tmp_path, files):
    packed(tmp_path, files)
    path = tmp_path / cifar10.ARCHIVE
    whole = path.read_bytes()
    path.write_bytes(whole + gzip.compress(bytes(4 << 20)))
    with pytest.raises(DatasetError, match=r"expected at most .* bytes for its contents, but more follow"):
        load_cifar10(tmp_path)
    path.write_bytes(whole[:-5] + bytes([whole[-5] ^ 1]) + whole[-4:])
    with pytest.raises(DatasetError, match="expected a sound gzip file, got a damaged one"):
        load_cifar10(tmp_path)


def test_headers_within_headers_are_refused(tmp_path, files):
    (tmp_path / cifar10.ARCHIVE).write_bytes(gzip.compress(header("x", 0, tarfile.GNUTYPE_LONGNAME) * 1500))
    with pytest.raises(DatasetError, match="expected CIFAR-10's archive, got RecursionError"):
        load_cifar10(tmp_path)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE])
def test_a_member_that_is_no_file_is_refused(tmp_path, kind):
    wrong = header("cifar-10-batches-bin/data_batch_1.bin", 0, kind)
    (tmp_path / cifar10.ARCHIVE).write_bytes(gzip.compress(wrong + bytes(1024)))
    with pytest.raises(DatasetError, match=r"data_batch_1\.bin: expected a regular file, got a member of type"):
        load_cifar10(tmp_path)


def test_a_long_file_is_refused_by_its_length(tmp_path, files):
    unpacked(tmp_path, files)
    with (tmp_path / "test_batch.bin").open("wb") as file:
        file.truncate(1 << 40)  # a hole, which takes no place
    with pytest.raises(DatasetError, match=r"test_batch\.bin: expected 3 images of 3073 bytes, got 1,099,511,627,776"):
        load_cifar10(tmp_path)


def test_a_download_that_was_damaged_later_is_noticed(tmp_path, files, monkeypatch):
    monkeypatch.delenv("GRAPHEME_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = tmp_path / "grapheme_pyg" / "cifar10"
    folder.mkdir(parents=True)
    packed(folder, files)
    with pytest.raises(DatasetError, match=r"expected an archive with SHA-256 c4a38c50.*; delete the file"):
        load_cifar10()
    monkeypatch.setattr(cifar10, "SHA256", hashlib.sha256((folder / cifar10.ARCHIVE).read_bytes()).hexdigest())
    assert len(load_cifar10().test.labels) == 3
