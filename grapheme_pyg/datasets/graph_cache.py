"""GraphCache: graphs of labelled images, made once and kept on disk."""

import hashlib
import json
import os
import sqlite3
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor
from torch_geometric.data import Database, OnDiskDataset
from torch_geometric.data.database import SQLiteDatabase

from grapheme_pyg.atomic import replace_file
from grapheme_pyg.checks import as_path
from grapheme_pyg.datasets.image_files import ImageFiles
from grapheme_pyg.datasets.image_graphs import GraphSlices
from grapheme_pyg.datasets.indexing import to_positions
from grapheme_pyg.datasets.labelled_images import ImageDataset, ImageSequenceDataset
from grapheme_pyg.errors import DatasetError
from grapheme_pyg.progress_bar import progress_bar
from grapheme_pyg.vision import ImageGraph, VisionBrain

AT_ONCE = 256


class GraphCache(GraphSlices, OnDiskDataset):
    """Keeps the graphs of labelled images in a database on disk, as tensors; nothing is pickled.

    The graphs are made at first use, many at once. An unfinished folder is made again. A folder with the graphs of
    other images or another brain is refused, and so is a damaged one: the CRC-32 of each graph, which is stored beside
    the database with the graph's size, is compared when the graph is read. Workers of a ``DataLoader`` may read from
    the cache, forked or spawned: each process, copy and slice opens the database for itself.

    Args:
        root: The folder; made if missing.
        images: The images and labels, without augmentation or a transform of images.
        vision: Makes the graphs.
        transform: A function that is applied to each graph when it is read, and not to the graphs on disk.
        verbose: Whether to show a progress bar in a terminal while graphs are made.

    Raises:
        ValueError: The images are augmented or transformed, or are not such a data set.
        DatasetError: The folder belongs to other images, or its files are damaged; a damaged graph is found when it is
            read.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> images = ImageDataset(torch.zeros(2, 28, 28, dtype=torch.uint8), torch.tensor([3, 4]))
        >>> with TemporaryDirectory() as folder:
        ...     cache = GraphCache(folder, images, VisionBrain())
        ...     cache[1].y
        tensor([4])
    """

    def __init__(
        self,
        root: str | Path,
        images: ImageDataset | ImageSequenceDataset,
        vision: VisionBrain,
        transform: Callable[[ImageGraph], Any] | None = None,
        *,
        verbose: bool = True,
    ) -> None:
        if not hasattr(images, "augment"):
            expected = "an ImageDataset or ImageSequenceDataset (take a slice of the cache for a part of it)"
            raise ValueError(f"images: expected {expected}, got {type(images).__name__}")
        if images.augment or images.transform or getattr(images.images, "transform", None):
            raise ValueError("images: expected none that are augmented or transformed, since graphs are made only once")
        self._process_id = os.getpid()
        # A slice or a copy opens the database later, when the working directory may have changed.
        absolute = str(as_path("root", root).expanduser().absolute())
        super().__init__(absolute, transform, schema=_schema(vision), log=False)
        database, sizes = (Path(path) for path in self.processed_paths)
        # The settings 10 and 10.0 are equal.
        settings = json.dumps(json.loads(json.dumps(vision.config), parse_int=float))
        made_of = {"images": fingerprint(images), "vision": settings}
        if not (sizes.exists() and database.exists()):
            database.parent.mkdir(parents=True, exist_ok=True)
            sizes.unlink(missing_ok=True)
            database.unlink(missing_ok=True)
            table = self._make(images, vision, verbose=verbose)
            replace_file(sizes, save({"sizes": table}, made_of | {"crc32": str(_checksum({"sizes": table}))}))
        self._sizes = _read_sizes(sizes, len(images), made_of)
        _check_tables(database, self.schema)
        with self._sound():
            count = len(self.db)
        if count != len(images):
            raise DatasetError(f"{database}: expected {len(images)} graphs, got {count}")

    @property
    def processed_file_names(self) -> list[str]:
        """Names of the database and, written last, of the file with the graphs' sizes, checksums and origin."""
        return ["graphs.db", "sizes.safetensors"]

    @property
    def num_nodes(self) -> Tensor:
        """Number of nodes of each graph of this slice before the transform, ``[N]`` int64."""
        return self._sizes[self.indices(), 0]

    @property
    def num_edges(self) -> Tensor:
        """Number of edges of each graph of this slice before the transform, ``[N]`` int64."""
        return self._sizes[self.indices(), 1]

    def __getstate__(self) -> dict[str, Any]:
        """Leaves out the connection, which can be neither pickled nor shared with a copy."""
        return self.__dict__ | {"_db": None}

    @property
    def db(self) -> Database:
        """The database, which each process opens for itself."""
        if self._process_id != os.getpid():
            self._db, self._process_id = None, os.getpid()
        return super().db

    def close(self) -> None:
        """Closes the connection to the database; the next read opens another."""
        super().close()
        self._db = None

    # Not PyG's ``process``, with which PyG would unpickle files beside the database, which may be a stranger's.
    def _make(self, images: ImageDataset | ImageSequenceDataset, vision: VisionBrain, *, verbose: bool) -> Tensor:
        """Makes the graphs; returns the nodes, edges and checksum of each, ``[N, 3]`` int64."""
        rows: list[tuple[int, int, int]] = []
        try:
            with progress_bar(len(images), "graphs", verbose=verbose) as bar:
                for start in range(0, len(images), AT_ONCE):
                    graphs = vision.batch(*images[start : start + AT_ONCE]).to_data_list()
                    self.extend(graphs)
                    rows += [(one.num_nodes, one.num_edges, _checksum(self.serialize(one))) for one in graphs]
                    bar.update(len(graphs))
        finally:
            self.close()
        return torch.tensor(rows)

    def multi_get(
        self, indices: Iterable[int] | Tensor | slice | range, batch_size: int | None = None
    ) -> list[ImageGraph]:
        """Returns several graphs of this slice, transformed.

        Args:
            indices: Their positions in the slice.
            batch_size: How many to read from the database at once; all if None.

        Raises:
            IndexError: A position is out of range.
            DatasetError: A graph is damaged.
        """
        chosen = to_positions(indices if isinstance(indices, slice | Tensor) else list(indices), len(self)).tolist()
        at_once = batch_size or len(chosen) or 1
        parts = (self.__getitems__(chosen[start : start + at_once]) for start in range(0, len(chosen), at_once))
        return [graph for part in parts for graph in part]

    def load(self, rows: list[int]) -> list[ImageGraph]:
        """Reads several graphs at once, by their numbers in the whole data set.

        Raises:
            DatasetError: A graph is damaged.
        """
        with self._sound():
            found = [self.db.get(rows[0])] if len(rows) == 1 else self.db.multi_get(rows)
        if len(found) != len(rows):
            raise DatasetError(f"{self.processed_paths[0]}: expected {len(rows)} graphs, got {len(found)}")
        for row, fields in zip(rows, found, strict=True):
            if (got := _checksum(fields)) != (crc32 := int(self._sizes[row, 2])):
                expected = f"graph {row}: expected a graph with CRC-32 {crc32:08x}"
                raise DatasetError(f"{self.processed_paths[0]}: {expected}, got {got:08x}")
        return [self.deserialize(fields) for fields in found]

    @contextmanager
    def _sound(self) -> Iterator[None]:
        """Turns errors of SQLite, and of PyG on damaged bytes, into DatasetError."""
        try:
            yield
        except (sqlite3.Error, RuntimeError, TypeError, ValueError) as error:
            self.close()
            raise DatasetError(
                f"{self.processed_paths[0]}: expected a sound database of graphs, got {error}"
            ) from error

    def serialize(self, data: Any) -> dict[str, Tensor]:
        """Returns the fields of a graph."""
        return {name: data[name] for name in self.schema}

    def deserialize(self, data: Any) -> ImageGraph:
        """Returns the graph of given fields, which are copied."""
        return ImageGraph(**{name: value.clone() for name, value in data.items()})


def fingerprint(images: ImageDataset | ImageSequenceDataset) -> str:
    """Returns the SHA-256 of labels and pixels, or of labels and the names, sizes and times of files."""
    digest = hashlib.sha256(images.labels.numpy().tobytes())
    if isinstance(images.images, ImageFiles):
        digest.update(str(images.images.in_channels).encode())
        for path in images.images.paths:
            known = path.stat()
            # A name need not be UTF-8.
            digest.update(os.fsencode(path) + f"\n{known.st_size} {known.st_mtime_ns}\n".encode())
    else:
        for pixels in [images.images] if isinstance(images.images, Tensor) else images.images:
            digest.update(repr(tuple(pixels.shape)).encode() + pixels.contiguous().numpy().tobytes())
    return digest.hexdigest()


def _checksum(fields: dict[str, Tensor]) -> int:
    """Returns the CRC-32 of the names, shapes and bytes of tensors."""
    checksum = 0
    for name, value in fields.items():
        checksum = zlib.crc32(f"{name} {list(value.shape)}".encode(), checksum)
        checksum = zlib.crc32(value.contiguous().numpy().tobytes(), checksum)
    return checksum


def _read_sizes(path: Path, count: int, made_of: dict[str, str]) -> Tensor:
    """Reads the nodes, edges and checksum of each graph, if they are of the expected images and brain."""
    advice = "delete the folder to have the graphs made again"
    try:
        with safe_open(path, "pt") as file:
            found = file.metadata() or {}
            sizes: Tensor = file.get_tensor("sizes")
    except (SafetensorError, OSError, ValueError) as error:
        raise DatasetError(f"{path}: expected a sound table of sizes, got {error}; {advice}") from error
    for name, value in made_of.items():
        if found.get(name) != value:
            raise DatasetError(f"{path}: expected graphs with {name} {value}, got {found.get(name)}; {advice}")
    sound = found.get("crc32") == str(_checksum({"sizes": sizes}))
    if not sound or sizes.dtype != torch.int64 or sizes.shape != (count, 3):
        raise DatasetError(f"{path}: expected three sound integers for each of {count} graphs, got others; {advice}")
    return sizes


def _check_tables(database: Path, schema: dict[str, Any]) -> None:
    """Refuses a database with other tables, and above all with views, which are code that reading would run."""
    query = "SELECT type, sql FROM sqlite_master"
    expected = SQLiteDatabase(":memory:", GraphCache.__name__, schema)
    wanted = expected.cursor.execute(query).fetchall()
    expected.close()
    try:
        with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as connection:
            found = connection.execute(query).fetchmany(len(wanted) + 1)
    except sqlite3.Error as error:
        raise DatasetError(f"{database}: expected a sound database of graphs, got {error}") from error
    if found != wanted:
        raise DatasetError(f"{database}: expected the tables {wanted}, got {found}")


def _schema(vision: VisionBrain) -> dict[str, Any]:
    """Returns the dtype and shape of each field of the brain's graphs."""
    floats = {"x": (-1, vision.num_features), "pos": (-1, 2)}
    integers = {"edge_index": (2, -1), "edge_type": (-1,), "y": (1,), "node_type": (-1,), "level": (-1,)}
    integers |= {"image_size": (1, 2)} | ({"seg": (-1,)} if vision.seg else {})
    if vision.edge_attr:
        floats["edge_attr"] = (-1, 3)
    schema = {name: {"dtype": torch.float32, "size": size} for name, size in floats.items()}
    return schema | {name: {"dtype": torch.int64, "size": size} for name, size in integers.items()}
