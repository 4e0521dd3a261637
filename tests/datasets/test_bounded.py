import io
import os

import pytest

from grapheme_pyg.datasets.bounded import BoundedReader, check_regular, largest_gzip, refusing_unreadable
from grapheme_pyg.errors import DatasetError


def test_one_byte_too_many_is_noticed_and_no_more_is_read():
    stream = io.BytesIO(bytes(100))
    reader = BoundedReader(stream, "file", 10)
    assert len(reader.read(7)) == 7
    assert len(reader.read(3)) == 3
    with pytest.raises(DatasetError, match=r"^file: expected at most 10 bytes for what it holds, but more follow$"):
        reader.read(50)
    assert stream.tell() == 11


def test_the_limit_may_be_reached_and_raised():
    reader = BoundedReader(io.BytesIO(bytes(10)), "file", 4)
    assert len(reader.read(4)) == 4
    reader.limit = 10
    assert len(reader.read()) == 6
    assert reader.read() == b""


def test_what_does_not_compress_fits():
    import gzip

    for size in (0, 1, 100_000):
        assert len(gzip.compress(os.urandom(size))) < largest_gzip(size)


def test_pipes_and_devices_are_not_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path / "zero"):
        if path.name == "zero":
            path.symlink_to("/dev/zero")
        with pytest.raises(DatasetError, match=f"{path}: expected a regular file, got a pipe, a socket or a device"):
            check_regular(path)
    check_regular(tmp_path)
    check_regular(tmp_path / "absent")


def test_unreadable_is_broken_and_missing_is_missing(tmp_path):
    message = r"/closed: expected to be able to read it, got .*Permission denied"
    with pytest.raises(DatasetError, match=message), refusing_unreadable(tmp_path):
        raise PermissionError(13, "Permission denied", "/closed")
    with pytest.raises(FileNotFoundError), refusing_unreadable(tmp_path):
        (tmp_path / "absent").read_bytes()
