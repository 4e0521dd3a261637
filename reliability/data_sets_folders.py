"""Folders of pictures, and caches of graphs; whole and broken."""

import os
import pickle
import sqlite3
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from random import Random

import torch
from data_sets_idx import flipped, random_bytes
from data_sets_trial import BrokenPromiseError, Trial, as_stranger
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from grapheme_pyg import VisionBrain
from grapheme_pyg.datasets import GraphCache, ImageDataset, load_image_folder

FIELDS = ("x", "pos", "edge_index", "edge_type", "level", "y")


def _folder(random: Random, folder: Path) -> tuple[list[Tensor], list[Tensor]]:
    """Two to four classes of some pictures each: the pictures and, as a tensor, their labels."""
    images: dict[Path, Tensor] = {}
    classes = [folder / f"class{label}" for label in range(random.randint(2, 4))]
    for place in classes:
        for number in range(random.randint(1, 4)):
            path = place / random.choice(("", "more", "more/still")) / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            images[path] = random_bytes(random, 1, random.randint(1, 9), random.randint(1, 9))
            Image.fromarray(images[path][0].numpy()).save(path)
    labels = [label for label, place in enumerate(classes) for path in images if path.is_relative_to(place)]
    return [images[path] for path in sorted(images)], [torch.tensor(labels)]


def _load(folder: Path) -> list[Tensor]:
    found = load_image_folder(folder, 1)
    return [*found.images, found.labels]


def _trial(folder: Path, named: str, error: type[Exception] | None = None) -> Trial:
    trial = Trial(lambda: _load(folder), None, 10_000, named)
    return trial if error is None else Trial(trial.load, None, 10_000, named, error)


def whole_folder(random: Random, folder: Path) -> Trial:
    """With what does no harm: hidden files, links that go round in circles, texts, names that are not UTF-8."""
    images, labels = _folder(random, folder)
    inside = folder / "class0"
    for number in range(random.choice((3, 3000))):
        (inside / f".{number}.png").touch()
    (inside / "notes.txt").write_text("no picture")
    (folder / "picture.png").write_text("of no class")
    (folder / ".hidden").mkdir()
    (inside / "round").symlink_to(inside)
    (inside / "up").symlink_to(folder)
    if random.random() < 0.5:  # the last of its class, and of the same content as the first
        last = inside / os.fsdecode(b"\xff\xfe.png")
        Image.fromarray(images[0][0].numpy()).save(inside / "z.png")
        (inside / "z.png").rename(last)
        at = int((labels[0] == 0).sum())
        images.insert(at, images[0])
        labels = [torch.cat([torch.zeros(1, dtype=torch.int64), labels[0]])]
    return Trial(lambda: _load(folder), images + labels, 10_000, str(folder))


def class_without_pictures(random: Random, folder: Path) -> Trial:
    _folder(random, folder)
    empty = folder / random.choice(("a", "class00", "z"))
    empty.mkdir()
    for number in range(random.randrange(4)):
        (empty / random.choice((f".{number}.png", f"{number}.txt", f"{number}"))).touch()
    return _trial(folder, str(empty))


def no_folder_of_classes(random: Random, folder: Path) -> Trial:
    place = folder / "pictures"
    kind = random.randrange(4)
    if kind == 0:
        return _trial(place, str(place), NotADirectoryError)
    if kind == 1:
        place.write_bytes(random.randbytes(99))
        return _trial(place, str(place), NotADirectoryError)
    if kind == 2:
        place.symlink_to(place)
        return _trial(place, str(place), NotADirectoryError)
    place.mkdir()
    for number in range(random.choice((0, 3, 3000))):
        (place / random.choice((f"{number}.png", f".{number}"))).touch()
    return _trial(place, str(place))


def name_that_is_not_utf8(random: Random, folder: Path) -> Trial:
    images, _ = _folder(random, folder)
    name = bytes([random.choice((0x80, 0xC3, 0xE2, 0xFF))]) + random.choice((b"", b"cat"))
    place = folder / os.fsdecode(name)
    place.mkdir()
    Image.fromarray(images[0][0].numpy()).save(folder / "picture.png")
    (folder / "picture.png").rename(place / "1.png")
    return _trial(folder, repr(name))


def link_to_nowhere(random: Random, folder: Path) -> Trial:
    _folder(random, folder)
    path = folder / "class1" / "9.png"
    kind = random.randrange(3)
    if kind == 0:
        path.symlink_to(path)
    elif kind == 1:
        path.symlink_to(folder / "nowhere.png")
    else:
        os.mkfifo(path)
    return _trial(folder, str(path))


def closed_folder(random: Random, folder: Path) -> Trial:
    _folder(random, folder)
    closed = random.choice([folder, *(path for path in folder.rglob("*") if path.is_dir())])
    closed.chmod(0)

    def load() -> list[Tensor]:
        with as_stranger():
            return _load(folder)

    return Trial(load, None, 10_000, str(closed))


def _images() -> ImageDataset:
    random = Random(0)
    return ImageDataset(random_bytes(random, 12, 9, 9), torch.arange(12) % 10)


def _read(root: Path) -> list[Tensor]:
    cache_ = GraphCache(root, _images(), VisionBrain())
    try:
        graphs = [cache_[i] for i in range(6)] + cache_.multi_get(range(6, 12))
        sizes = [cache_.num_nodes, cache_.num_edges]
    finally:
        cache_.close()
    return [graph[field] for graph in graphs for field in FIELDS] + sizes


@cache
def _made() -> tuple[dict[str, bytes], list[Tensor]]:
    """The files of a cache, and what is read from it."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        tensors = _read(root)
        return {path.name: path.read_bytes() for path in (root / "processed").iterdir()}, tensors


def _cache(folder: Path, changed: dict[str, bytes | None], *, whole: bool = False, either: bool = False) -> Trial:
    contents, tensors = _made()
    place = folder / "processed"
    place.mkdir()
    for name, content in (contents | changed).items():
        if content is not None:
            (place / name).write_bytes(content)
    expected = tensors if whole or either else None
    return Trial(lambda: _read(folder), expected, sum(map(len, contents.values())), str(folder), either=either)


class Hostile:
    """Touches a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return Path.touch, (self.path,)


def whole_cache(random: Random, folder: Path) -> Trial:
    """Beside which a stranger has put files that run code when they are unpickled; or one that was left unfinished."""
    touched = folder / "touched"
    hostile = pickle.dumps(Hostile(touched))
    names = random.choice(((), ("sizes.safetensors",), ("graphs.db",), ("sizes.safetensors", "graphs.db")))
    changed: dict[str, bytes | None] = {"pre_transform.pt": hostile, "pre_filter.pt": hostile}
    trial = _cache(folder, changed | dict.fromkeys(names), whole=True)

    def look() -> None:
        if touched.exists():
            raise BrokenPromiseError("expected nothing to be unpickled, got code that ran")

    return Trial(trial.load, trial.expected, trial.honest, trial.named, after=look)


def damaged_cache(random: Random, folder: Path) -> Trial:
    name = random.choice(("graphs.db", "graphs.db", "sizes.safetensors"))
    content = _made()[0][name]
    kind = random.randrange(4)
    if kind == 0:
        return _cache(folder, {name: content[: random.randrange(len(content))]})
    if kind == 1:
        return _cache(folder, {name: random.randbytes(random.randrange(5000))})
    if kind == 2:  # a page of another
        at = random.randrange(len(content))
        return _cache(folder, {name: content[:at] + random.randbytes(500) + content[at + 500 :]}, either=True)
    return _cache(folder, {name: flipped(random, content)}, either=True)


def foreign_cache(random: Random, folder: Path) -> Trial:
    """A database that is sound, but not one of ours; sizes of what it is not."""
    trial = _cache(folder, {})
    database, sizes = folder / "processed/graphs.db", folder / "processed/sizes.safetensors"
    kind = random.randrange(6)
    if kind == 4:
        length = random.choice((10, 50_000))
        sizes.write_bytes(length.to_bytes(8, "little") + b"[" * length)
    elif kind == 5:
        with safe_open(sizes, "pt") as file:
            metadata, table = file.metadata(), file.get_tensor("sizes")
        table[:, random.randrange(3)] = 1
        save_file({"sizes": random.choice((table, table[:5].clone(), table.float()))}, sizes, metadata)
    else:
        connection = sqlite3.connect(database)
        if kind == 0:
            connection.execute("DELETE FROM GraphCache WHERE id = ?", (random.randrange(12),))
        elif kind == 1:
            connection.execute("UPDATE GraphCache SET COL_x = ? WHERE id = 3", (random.choice(("text", 5, b"xyz")),))
        elif kind == 2:
            swap = "UPDATE GraphCache SET id = CASE id WHEN 1 THEN -2 ELSE -1 END WHERE id IN (1, 2)"
            connection.execute(swap)
            connection.execute("UPDATE GraphCache SET id = -id WHERE id < 0")
        else:  # a query that has no end
            connection.execute("DROP TABLE GraphCache")
            rows = "WITH RECURSIVE r(id) AS (SELECT 0 UNION ALL SELECT id + 1 FROM r) SELECT id FROM r"
            connection.execute(f"CREATE VIEW GraphCache AS {rows}")
        connection.commit()
        connection.close()
    return trial


def other_images(random: Random, folder: Path) -> Trial:
    trial = _cache(folder, {})

    def load() -> list[Tensor]:
        images = _images()
        images.images[random.randrange(12), 3, 4] ^= 1 << random.randrange(8)
        GraphCache(folder, images, VisionBrain()).close()
        return []

    return Trial(load, None, trial.honest, trial.named)


KINDS: tuple[Callable[[Random, Path], Trial], ...] = (
    whole_folder,
    class_without_pictures,
    no_folder_of_classes,
    name_that_is_not_utf8,
    link_to_nowhere,
    closed_folder,
    whole_cache,
    damaged_cache,
    foreign_cache,
    other_images,
)
