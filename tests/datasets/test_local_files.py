import io

import pytest

from grapheme_pyg.datasets.local_files import read_at_most, refusing_unreadable
from grapheme_pyg.errors import DatasetError


def test_one_byte_too_many_is_noticed_and_no_more_is_read():
    stream = io.BytesIO(bytes(100))
    assert read_at_most(io.BytesIO(bytes(10)), 10, "file") == bytes(10)
    with pytest.raises(DatasetError, match=r"^file: expected at most 10 bytes for its contents, but more follow$"):
        read_at_most(stream, 10, "file")
    assert stream.tell() == 11


def test_unreadable_is_broken_and_missing_is_missing(tmp_path):
    message = r"/closed: expected a readable file or folder, got .*Permission denied"
    with pytest.raises(DatasetError, match=message), refusing_unreadable(tmp_path):
        raise PermissionError(13, "Permission denied", "/closed")
    with pytest.raises(FileNotFoundError), refusing_unreadable(tmp_path):
        (tmp_path / "absent").read_bytes()
