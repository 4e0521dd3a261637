import gzip

import pytest

from grapheme_pyg.datasets import load_mnist5k, mnist5k
from grapheme_pyg.errors import DatasetError

# A row of the true form, and one that is not.
ROW = ",".join(["0"] * 785) + "\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (gzip.compress(ROW.encode() * 5000)[:-9], "expected a whole gzip file, but it is cut short"),
        (b"no gzip", "expected numbers in 0…255, separated by commas"),
        (gzip.compress(b""), r"expected a table of shape \(5000, 785\), got \(1, 1\)"),
        (gzip.compress(ROW.encode() * 4999), r"expected a table of shape \(5000, 785\), got \(4999, 785\)"),
        (gzip.compress(ROW.encode() * 5000), "expected 500 rows of each label, sorted by label, got others"),
        (gzip.compress(b"1,256\n"), "expected numbers in 0…255, separated by commas"),
        (gzip.compress(b"1,-1\n"), "expected numbers in 0…255, separated by commas"),
        (gzip.compress(b"1,x\n"), "expected numbers in 0…255, separated by commas"),
        (gzip.compress(bytes(20 << 20), 1), "expected at most 9144322 bytes for its contents, but more follow"),
    ],
    ids=["cut", "other", "empty", "short", "unsorted", "large", "negative", "text", "bomb"],
)
def test_a_table_that_is_not_mlxtends_is_refused(tmp_path, monkeypatch, content, message):
    path = tmp_path / "mnist_5k.csv.gz"
    path.write_bytes(content)
    monkeypatch.setattr(mnist5k, "_find_csv", lambda: path)
    with pytest.raises(DatasetError, match=f"^{path}: {message}"):
        load_mnist5k()
