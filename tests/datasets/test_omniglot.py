import hashlib
import io
import os
import struct
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

import grapheme_pyg.datasets.omniglot as omniglot
from grapheme_pyg.datasets import load_dataset, load_omniglot, read_omniglot
from grapheme_pyg.errors import DatasetError

NAMES = [
    f"images_background/{alphabet}/character{character:02d}/{10 * character + number:04d}_{person:02d}.png"
    for number, alphabet in enumerate(("Korean", "Greek"))
    for character in (1, 2)
    for person in (1, 2, 12)
]


def drawing(seed, size=(105, 105)):
    return np.random.default_rng(seed).random(size) < 0.9


def png(pixels):
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG")
    return content.getvalue()


@pytest.fixture(scope="module")
def files():
    """Twelve small files of the real form, by name."""
    return {name: png(drawing(seed)) for seed, name in enumerate(NAMES)}


def packed(path, files, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", **({"compression": zipfile.ZIP_DEFLATED} | options)) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def unpacked(folder, files):
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


@pytest.mark.parametrize("place", ["", "omniglot"])
@pytest.mark.parametrize("put", [lambda base, files: packed(base / omniglot.ARCHIVE, files), unpacked])
def test_drawings_are_found(tmp_path, files, place, put, monkeypatch):
    put(tmp_path / place, files)
    monkeypatch.setenv("GRAPHEME_DATA", str(tmp_path))
    for data in (load_omniglot(), load_dataset("omniglot", tmp_path)):
        assert data.name == "omniglot"
        assert data.classes == ("Greek/character01", "Greek/character02", "Korean/character01", "Korean/character02")
        assert data.alphabets == ("Greek", "Korean")
        assert data.train.labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
        assert data.alphabet.tolist() == [0] * 6 + [1] * 6
        assert data.person.tolist() == [1, 2, 12] * 4
        assert data.train.images.shape == (12, 105, 105)
        assert data.train.images.dtype == torch.uint8
        assert len(data.test.images) == len(data.test.labels) == 0
        # The second one of Korean's second character, in light ink.
        assert np.array_equal(data.train.images[10].numpy(), np.where(drawing(4), 0, 255))


def test_any_part_of_the_tree_can_be_read(tmp_path, files, monkeypatch):
    base = unpacked(tmp_path, files) / "images_background"
    whole = read_omniglot(tmp_path)
    assert torch.equal(read_omniglot(str(base)).train.images, whole.train.images)
    greek = read_omniglot(base / "Greek")
    assert greek.classes == ("Greek/character01", "Greek/character02")
    assert torch.equal(greek.train.images, whole.train.images[:6])
    monkeypatch.chdir(base / "Greek")
    assert read_omniglot(".").classes == greek.classes


def test_other_files_are_left_out(tmp_path, files):
    others = {
        "__MACOSX/images_background/Greek/character01/._0010_01.png": b"no picture",
        "images_background/Greek/character01/notes.png": b"no picture",
        "images_background/Greek/character01/0001_01.jpg": b"no picture",
        "../escape.png": b"no picture",
        "images_background/Greek/": b"",
    }
    path = packed(tmp_path / "part.zip", others | files)
    assert len(read_omniglot(path).train.labels) == 12
    assert [entry.name for entry in tmp_path.parent.iterdir() if entry.name == "escape.png"] == []


def test_missing_files(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"expected images_background\.zip or the folder images_background,"):
        load_omniglot(tmp_path)
    with pytest.raises(FileNotFoundError):
        read_omniglot(tmp_path / "none.zip")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no picture", r"0010_01\.png: expected an image, got "),
        (png(drawing(0))[:60], r"0010_01\.png: expected an image, got "),
        (png(drawing(0, (105, 104))), r"0010_01\.png: expected 105 by 105 pixels, got 105 by 104"),
        (png(drawing(0, (9000, 9000))[:1].repeat(9000, 0)), r"0010_01\.png: expected at most "),
        (bytes(1 << 22), r"0010_01\.png: expected at most 16,384 bytes, got more"),
    ],
)
@pytest.mark.parametrize("put", [lambda base, files: packed(base / omniglot.ARCHIVE, files), unpacked])
def test_broken_drawings_are_named(tmp_path, files, content, message, put):
    put(tmp_path, files | {NAMES[0]: content})
    with pytest.raises(DatasetError, match=message):
        load_omniglot(tmp_path)


@pytest.mark.parametrize("damage", [lambda data: b"no archive", lambda data: data[:500], lambda data: data[200:]])
def test_broken_archives_are_named(tmp_path, files, damage):
    path = packed(tmp_path / omniglot.ARCHIVE, files)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DatasetError, match=r"images_background\.zip: expected a zip file of drawings, got "):
        load_omniglot(tmp_path)


def test_a_drawing_with_a_wrong_checksum_is_refused(tmp_path, files):
    path = packed(tmp_path / omniglot.ARCHIVE, files, compression=zipfile.ZIP_STORED)
    content = path.read_bytes()
    place = content.index(files[NAMES[0]]) + 40
    path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
    with pytest.raises(DatasetError, match=r"expected a zip file of drawings, got BadZipFile: Bad CRC-32"):
        load_omniglot(tmp_path)


def test_drawings_that_are_there_twice_are_refused(tmp_path, files):
    other = NAMES[0].replace("images_background", "images_background_small1")
    path = packed(tmp_path / omniglot.ARCHIVE, files | {other: files[NAMES[0]]})
    with pytest.raises(DatasetError, match=r"expected one drawing Korean/character01/0010_01\.png, got two"):
        read_omniglot(path)


def test_nothing_to_read_is_refused(tmp_path):
    with pytest.raises(DatasetError, match=r"expected drawings <alphabet>/character<nn>/.*, got none"):
        read_omniglot(packed(tmp_path / "a.zip", {"a.txt": b""}))
    with pytest.raises(DatasetError, match=r"expected drawings <alphabet>/character<nn>/.*, got none"):
        read_omniglot(tmp_path)


def test_names_that_models_cannot_have_are_refused(tmp_path, files):
    path = packed(tmp_path / "a.zip", {"\x1b[31m/character01/0001_01.png": files[NAMES[0]]})
    with pytest.raises(DatasetError, match=r"a\.zip: classes: expected names without control characters"):
        read_omniglot(path)


def test_too_much_is_refused(tmp_path, files, monkeypatch):
    path = packed(tmp_path / "a.zip", files)
    monkeypatch.setattr(omniglot, "MAX_DRAWINGS", 11)
    with pytest.raises(DatasetError, match=r"expected at most 11 drawings, got more"):
        read_omniglot(path)
    with path.open("r+b") as file:
        file.truncate(1 << 40)  # a hole, which takes no place
    with pytest.raises(DatasetError, match=r"expected at most 16,777,216 bytes, got 1,099,511,627,776"):
        read_omniglot(path)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_what_unpacks_all_at_once_is_refused(tmp_path, files, method):
    path = packed(tmp_path / "a.zip", files, compression=method)
    with pytest.raises(
        DatasetError, match=rf"0010_01\.png: expected a member that is stored or deflated, got {method}"
    ):
        read_omniglot(path)


def test_encrypted_archives_are_refused(tmp_path, files):
    path = packed(tmp_path / "a.zip", files)
    content = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        place = content.index(signature) + offset
        content[place : place + 2] = struct.pack("<H", 1)
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=r"expected a zip file of drawings, got RuntimeError: .* is encrypted"):
        read_omniglot(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
def test_pipes_are_not_waited_for(tmp_path, files):
    base = unpacked(tmp_path / "folder", files)
    os.mkfifo(base / "images_background/Greek/character01/0001_01.png")
    with pytest.raises(DatasetError, match=r"expected a regular file, got a pipe"):
        read_omniglot(base)
    os.mkfifo(tmp_path / "a.zip")
    with pytest.raises(DatasetError, match=r"expected a regular file, got a pipe"):
        read_omniglot(tmp_path / "a.zip")


def test_a_download_is_checked_each_time(tmp_path, files, monkeypatch):
    monkeypatch.delenv("GRAPHEME_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    path = packed(tmp_path / "grapheme_pyg/omniglot" / omniglot.ARCHIVE, files)
    with pytest.raises(DatasetError, match=r"expected an archive with SHA-256 db5e0a6c.*; delete the file"):
        load_omniglot()
    monkeypatch.setattr(omniglot, "SHA256", hashlib.sha256(path.read_bytes()).hexdigest())
    assert len(load_omniglot().train.labels) == 12


def test_a_download_is_kept(tmp_path, files, monkeypatch, mirror):
    monkeypatch.delenv("GRAPHEME_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    content = packed(tmp_path / "a.zip", files).read_bytes()
    mirror.files["/a.zip"] = content
    monkeypatch.setattr(omniglot, "URL", f"{mirror.url}/a.zip")
    monkeypatch.setattr(omniglot, "SHA256", hashlib.sha256(content).hexdigest())
    assert [len(load_omniglot().train.labels) for _ in range(2)] == [12, 12]
    assert mirror.requests == ["/a.zip"]
