import gzip
import struct

import pytest

from grapheme_pyg.datasets import DownloadError, load_idx_data, load_idx_folder
from grapheme_pyg.datasets.idx import is_idx_folder
from grapheme_pyg.datasets.mnist_specs import SPECS
from grapheme_pyg.errors import DatasetError


def write(folder, name, *shape, values):
    folder.mkdir(exist_ok=True)
    content = bytes([0, 0, 8, len(shape)]) + struct.pack(f">{len(shape)}I", *shape) + bytes(values)
    (folder / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)


def write_train(folder, before="", labels=(3, 1, 3)):
    """Three images of one row and two columns."""
    write(folder, f"{before}train-images-idx3-ubyte", 3, 1, 2, values=range(6))
    write(folder, f"{before}train-labels-idx1-ubyte.gz", len(labels), values=labels)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "letters"


@pytest.mark.parametrize("test", [None, "t10k-", "some-test-", "latest-t10k."])
def test_a_folder_of_any_size_and_labels(folder, test):
    """myleott/mnist_png#3: labels that start from 1 end in an IndexError."""
    write_train(folder)
    if test:
        write(folder, f"{test}images.idx3-ubyte.gz", 1, 2, 2, values=[9, 8, 7, 6])
        write(folder, f"{test}labels.idx1-ubyte", 1, values=[3])
    data = load_idx_folder(folder)
    assert (data.name, data.classes) == ("letters", ("1", "3"))
    assert data.train.images.tolist() == [[[0, 1]], [[2, 3]], [[4, 5]]]
    assert data.train.labels.tolist() == [1, 0, 1]
    assert (len(data.test.images) == 0) == (test is None)
    if test is not None:
        assert data.test.images.tolist() == [[[9, 8], [7, 6]]]
        assert data.test.labels.tolist() == [1]


def test_images_are_turned_upright(folder):
    """pytorch/vision#8783: EMNIST's images have rows and columns exchanged."""
    write_train(folder)
    images = load_idx_folder(folder, transposed=True).train.images
    assert images.tolist() == [[[0], [1]], [[2], [3]], [[4], [5]]]
    assert images.is_contiguous()


def test_letters_have_their_names(folder):
    """pytorch/vision#2673: the names of EMNIST's letters are shifted by one."""
    write_train(folder, "emnist-letters-", labels=(1, 26, 2))
    data = load_idx_folder(folder)
    assert data.classes == ("a", "b", "z")
    assert data.train.labels.tolist() == [0, 2, 1]


def test_what_is_beside_the_files(folder):
    """myleott/mnist_png#3: archives that have been unpacked, and files of other programs, are left alone."""
    write_train(folder)
    write(folder, "train-labels-idx1-ubyte", 3, values=[0, 0, 7])
    write(folder, "._train-images-idx3-ubyte", 1, values=[0])
    (folder / "t10k-images-idx3-ubyte").mkdir()
    assert load_idx_folder(folder).classes == ("0", "7")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["train-labels-idx1-ubyte"], "training images, got none"),
        (["train-images-idx3-ubyte"], "training labels, got none"),
        (["a-train-images-idx3-ubyte", "b-train-images-idx3-ubyte"], "training images, got a-train.*, b-train"),
        (["train-images-idx3-ubyte", "train-labels-idx1-ubyte", "test-images-idx3-ubyte"], "test labels, got none"),
        ([], "training images, got none"),
    ],
)
def test_one_file_of_each_is_expected(folder, names, message):
    """myleott/mnist_png#3: it is said which file is missing, or which are too many."""
    folder.mkdir()
    for name in names:
        (folder / name).touch()
    with pytest.raises(DatasetError, match=f"^{folder}: expected exactly one IDX file of {message}"):
        load_idx_folder(folder)
    assert is_idx_folder(folder) == bool(names)


def test_other_folders(tmp_path):
    """myleott/mnist_png#3: a folder of pictures is none of IDX files."""
    (tmp_path / "train-images.png").touch()
    assert not is_idx_folder(tmp_path)
    assert not is_idx_folder(tmp_path / "train-images.png")
    assert not is_idx_folder(tmp_path / "nowhere")
    with pytest.raises(DatasetError, match=f"^{tmp_path}/nowhere: expected a folder of IDX files"):
        load_idx_folder(tmp_path / "nowhere")


def test_labels_that_do_not_fit(folder):
    """myleott/mnist_png#3: labels that are too few or unknown are named, before anything is trained."""
    write_train(folder, labels=(1, 2))
    with pytest.raises(DatasetError, match=r"train-labels.*expected labels of shape \(3,\), .* got shape \(2,\)$"):
        load_idx_folder(folder)
    write_train(folder)
    write(folder, "test-images-idx3-ubyte", 3, 1, 1, values=[0, 0, 0])
    write(folder, "test-labels-idx1-ubyte", 3, values=[4, 1, 0])
    with pytest.raises(DatasetError, match=r"test-labels.*: expected only classes that .*, got also 0, 4$"):
        load_idx_folder(folder)
    write(folder, "test-images-idx3-ubyte", 3, 0, 1, values=[])
    with pytest.raises(DatasetError, match=r"test-images.*: expected images of shape .*, got shape \(3, 0, 1\)$"):
        load_idx_folder(folder)


@pytest.mark.parametrize("split", ["letters", "digits", "balanced", "byclass", "bymerge", "mnist"])
def test_emnist_is_not_downloaded(split, monkeypatch, tmp_path):
    """pytorch/vision#2673: the splits of EMNIST are found under their own names only."""
    monkeypatch.delenv("GRAPHEME_DATA", raising=False)
    with pytest.raises(DownloadError, match=rf"^emnist_{split}: .*one large archive: https://www\.nist\.gov/"):
        load_idx_data(f"emnist_{split}")
    with pytest.raises(FileNotFoundError, match=f"emnist-{split}-test-labels-idx1-ubyte could not be found"):
        load_idx_data(f"emnist_{split}", tmp_path)


def test_classes_of_emnist():
    """pytorch/vision#2673: the names of EMNIST's classes are those of its published mappings."""
    assert "".join(SPECS["emnist_letters"].classes) == "abcdefghijklmnopqrstuvwxyz"
    assert "".join(SPECS["emnist_balanced"].classes) == "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabdefghnqrt"
    assert SPECS["emnist_bymerge"].classes == SPECS["emnist_balanced"].classes
    assert "".join(SPECS["emnist_byclass"].classes) == "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
