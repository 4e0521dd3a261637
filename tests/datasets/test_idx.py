import gzip
import hashlib
import os
import struct
import tracemalloc

import pytest
import torch
from systems import needs_posix

from grapheme_pyg.datasets import read_idx
from grapheme_pyg.datasets.idx import read_idx_and_digest
from grapheme_pyg.errors import DatasetError


def idx(shape, body=None, kind=0x08):
    count = 1
    for size in shape:
        count *= size
    body = bytes(i % 251 for i in range(count)) if body is None else body
    return bytes([0, 0, kind, len(shape)]) + struct.pack(f">{len(shape)}I", *shape) + body


@pytest.fixture
def write(tmp_path):
    def write(content, name="some-idx3-ubyte"):
        path = tmp_path / name
        path.write_bytes(content)
        return path

    return write


@pytest.mark.parametrize("shape", [(7,), (2, 3), (4, 5, 6), (1, 2, 3, 4), (0, 28, 28)])
@pytest.mark.parametrize("zipped", [False, True])
def test_reads_plain_and_gzipped(write, shape, zipped):
    content = idx(shape)
    # The name says the opposite of the content, because names are not to be trusted.
    path = write(gzip.compress(content), "f") if zipped else write(content, "f.gz")
    tensor = read_idx(path)
    assert tensor.dtype == torch.uint8
    assert tuple(tensor.shape) == shape
    assert bytes(tensor.flatten().tolist()) == content[4 + 4 * len(shape) :]


def test_order_is_row_major_and_path_may_be_text(write):
    assert read_idx(str(write(idx((2, 3))))).tolist() == [[0, 1, 2], [3, 4, 5]]


def test_data_longer_than_one_read(write):
    shape = (3, 1024, 1024)
    body = bytes(range(256)) * (3 * 4096)
    tensor = read_idx(write(idx(shape, body)))
    assert tensor.shape == shape
    assert bytes(tensor[2, -1, -256:].tolist()) == bytes(range(256))


@pytest.mark.parametrize("zipped", [False, True])
def test_sha256_is_of_the_uncompressed_content(write, zipped):
    content = idx((2, 3))
    path = write(gzip.compress(content) if zipped else content)
    digest = hashlib.sha256(content).hexdigest()
    assert read_idx(path, sha256=digest).shape == (2, 3)
    assert read_idx(path, sha256=digest.upper()).shape == (2, 3)
    path.write_bytes(content[:-1] + b"\xff")
    with pytest.raises(ValueError, match=f"{path}: expected content with SHA-256 {digest}, got [0-9a-f]{{64}}$"):
        read_idx(path, sha256=digest)


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected an IDX file"),
        (b"\0\0\x08", "expected an IDX file"),
        (b"\x89PNG\r\n\x1a\n", "expected an IDX file.*got '89 50 4e 47'"),
        (idx((4,), kind=0x0D), "unsigned bytes .type 0x08., got type 0x0d"),
        (b"\0\0\x08\0", "1 to 8 dimensions, got 0"),
        (b"\0\0\x08\xff" + bytes(2000), "1 to 8 dimensions, got 255"),
        (idx((2, 3))[:9], "header of 12 bytes, got 9"),
        (idx((2, 3))[:-1], r"expected 6 bytes of data for shape \(2, 3\), got only 5"),
        (idx((2, 3)) + b"\0", r"expected 6 bytes of data for shape \(2, 3\), but more follow"),
        (idx((3, 3), bytes(6)), "expected 9 bytes.*got only 6"),
        (idx((1, 3), bytes(6)), "expected 3 bytes.*but more follow"),
        (b"\0\0\x08\x03" + b"\xff" * 12, "at most 1073741824 bytes of data, but the header says"),
        (b"\0\0\x08\x04" + bytes(4) + b"\xff" * 12, "at most 1073741824 bytes of data"),
    ],
)
def test_malformed_files_are_refused(write, content, message, zipped):
    path = write(gzip.compress(content) if zipped else content)
    with pytest.raises(ValueError, match=f"^{path}: .*{message}"):
        read_idx(path)


def test_every_truncation_of_either_form_is_refused(write):
    content = idx((3, 4))
    for whole in (content, gzip.compress(content)):
        for end in range(len(whole)):
            with pytest.raises(ValueError, match="some-idx3-ubyte: expected"):
                read_idx(write(whole[:end]))


def test_cut_gzip_says_so(write):
    with pytest.raises(ValueError, match="expected a whole gzip file, but it is cut short"):
        read_idx(write(gzip.compress(idx((3, 4)))[:-1]))


@pytest.mark.parametrize("position", [3, 12, -6])
def test_damaged_gzip_is_refused(write, position):
    # Header flags, compressed data, checksum.
    damaged = bytearray(gzip.compress(idx((30, 40))))
    damaged[position] ^= 0xE6
    with pytest.raises(ValueError, match=r"some-idx3-ubyte: expected a (sound|whole) gzip file"):
        read_idx(write(bytes(damaged)))


def test_bytes_after_gzip_are_refused(write):
    with pytest.raises(ValueError, match="expected a sound gzip file"):
        read_idx(write(gzip.compress(idx((3, 4))) + b"more"))


def test_gzip_bomb_is_not_unpacked(write):
    path = write(gzip.compress(idx((2, 3), bytes(100 << 20)), compresslevel=1))
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=r"expected 6 bytes of data .* but more follow"):
            read_idx(path)
        assert tracemalloc.get_traced_memory()[1] < 2 << 20
    finally:
        tracemalloc.stop()


def test_lying_header_costs_no_memory(write):
    path = write(idx((1 << 10, 1 << 10, 1 << 10), bytes(10)))
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=r"expected 1073741824 bytes of data .* got only 10"):
            read_idx(path)
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


def test_missing_file_is_reported_as_such(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent"):
        read_idx(tmp_path / "absent")


def test_many_members_and_long_names_are_what_the_format_allows(write):
    content = gzip.compress(idx((2, 3)))
    long_name = b"\x1f\x8b\x08\x08" + bytes(6) + b"x" * 100_000 + b"\0" + content[10:]
    for zipped in (gzip.compress(b"") * 1000 + content, long_name):
        assert read_idx(write(zipped)).shape == (2, 3)


def test_the_shape_is_checked_before_data_is_read(write):
    seen = []

    def check(shape):
        seen.append(shape)
        raise DatasetError("another shape")

    for zipped in (False, True):
        content = idx((1 << 15, 1 << 14), bytes(10))
        with pytest.raises(DatasetError, match="another shape"):
            read_idx_and_digest(write(gzip.compress(content) if zipped else content), check)
    assert seen == [(1 << 15, 1 << 14)] * 2


@needs_posix
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DatasetError, match="pipe: expected a regular file"):
        read_idx(tmp_path / "pipe")


@needs_posix
def test_a_device_is_not_read_without_end(tmp_path):
    (tmp_path / "zero").symlink_to("/dev/zero")
    with pytest.raises(DatasetError, match="zero: expected a regular file, got a pipe, a socket or a device"):
        read_idx(tmp_path / "zero")
