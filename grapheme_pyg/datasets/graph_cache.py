"""Graphs of labelled images, made once and kept on disk."""

import os
import sqlite3
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Database, OnDiskDataset
from torch_geometric.data.database import SQLiteDatabase

from grapheme_pyg.checks import as_path
from grapheme_pyg.datasets.cache_description import Description, fingerprint, read_description, write_description
from grapheme_pyg.datasets.image_graphs import GraphSlices
from grapheme_pyg.datasets.labelled_images import ImageDataset, ImageSequenceDataset
from grapheme_pyg.datasets.positions import to_positions
from grapheme_pyg.errors import DatasetError
from grapheme_pyg.vision import ImageGraph, VisionBrain

DESCRIPTION = "description.json"
AT_ONCE = 256


class GraphCache(GraphSlices, OnDiskDataset):
    """The graphs of labelled images, in a database in a folder: tensors, nothing pickled.

    They are made at first use, many at once. A folder that was left unfinished is made anew; one that holds the graphs
    of other images, or of another brain, is refused, and so is one that was damaged: the CRC-32 of each graph is
    compared when it is read, and that of the description beside them when the cache is opened. Workers of a
    ``DataLoader`` may read from it, forked or spawned: each process, copy and slice opens the database by itself.

    Args:
        root: The folder; made if missing.
        images: The images and labels, without augmentation.
        vision: Makes the graphs.
        transform: Applied to each graph when it is asked for; what is on disk is without it.

    Raises:
        ValueError: The images are augmented, or no such data set.
        DatasetError: The folder is not theirs, or its files are damaged; of a graph, when it is asked for.

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
    ) -> None:
        if not hasattr(images, "augment"):
            expected = "an ImageDataset or ImageSequenceDataset, of whose cache any part may be taken"
            raise ValueError(f"images: expected {expected}, got {type(images).__name__}")
        if images.augment is not None:
            raise ValueError("images: expected none that are augmented, as each graph is made once")
        self._process_id = os.getpid()
        # A slice or a copy opens the database later, when the working directory may be another.
        absolute = str(as_path("root", root).expanduser().absolute())
        super().__init__(absolute, transform, schema=_schema(vision), log=False)
        database, description = (Path(path) for path in self.processed_paths)
        ours = fingerprint(images)
        if not (description.exists() and database.exists()):
            database.parent.mkdir(parents=True, exist_ok=True)
            description.unlink(missing_ok=True)
            write_description(description, Description(ours, vision.config, *self._make(database, images, vision)))
        found = read_description(description, len(images))
        for name, value, there in (("images", ours, found.images), ("vision", vision.config, found.vision)):
            if there != value:
                raise DatasetError(f"{root}: expected graphs with {name} {value}, got {there}")
        self._checksums = found.crc32
        self._num_nodes, self._num_edges = torch.tensor(found.num_nodes), torch.tensor(found.num_edges)
        _check_tables(database, self.schema)
        with self._sound(database):
            count = len(self.db)
        if count != len(images):
            raise DatasetError(f"{database}: expected {len(images)} graphs, got {count}")

    @property
    def processed_file_names(self) -> list[str]:
        """The database, and what it is of, which is written last."""
        return ["graphs.db", DESCRIPTION]

    @property
    def num_nodes(self) -> Tensor:
        """Nodes of each graph of this slice, ``[N]`` int64, for a budget; before the transform."""
        return self._num_nodes[self._rows()]

    @property
    def num_edges(self) -> Tensor:
        """Edges of each graph of this slice, ``[N]`` int64, for a budget; before the transform."""
        return self._num_edges[self._rows()]

    def _rows(self) -> Tensor | slice:
        return slice(None) if self._indices is None else torch.tensor(self._indices, dtype=torch.int64)

    def __getstate__(self) -> dict[str, Any]:
        """All but the connection, which neither pickles nor may be used by two: also for ``copy.copy``."""
        return self.__dict__ | {"_db": None}

    @property
    def db(self) -> Database:
        """The database, opened in each process by itself."""
        if self._process_id != os.getpid():
            self._db, self._process_id = None, os.getpid()
        return super().db

    def close(self) -> None:
        """Closes the connection to the database; whatever reads next opens another."""
        super().close()
        self._db = None

    # Not PyG's ``process``: whatever defines that has files beside the database unpickled, which may be a stranger's.
    def _make(
        self, database: Path, images: ImageDataset | ImageSequenceDataset, vision: VisionBrain
    ) -> tuple[list[int], list[int], list[int]]:
        """Makes the graphs; the nodes, the edges and the checksum of each."""
        database.unlink(missing_ok=True)
        nodes: list[int] = []
        edges: list[int] = []
        checksums: list[int] = []
        try:
            for start in range(0, len(images), AT_ONCE):
                graphs = vision.batch(*images[start : start + AT_ONCE]).to_data_list()
                self.extend(graphs)
                nodes += [graph.num_nodes for graph in graphs]
                edges += [graph.num_edges for graph in graphs]
                checksums += [_checksum(self.serialize(graph)) for graph in graphs]
        finally:
            self.close()
        return nodes, edges, checksums

    def multi_get(
        self, indices: Iterable[int] | Tensor | slice | range, batch_size: int | None = None
    ) -> list[ImageGraph]:
        """Several graphs of this slice, transformed.

        Args:
            indices: Their positions in the slice.
            batch_size: How many to fetch from the database at once; all if None.

        Raises:
            IndexError: A position is out of range.
            DatasetError: A graph is not what was written.
        """
        chosen = to_positions(indices if isinstance(indices, slice | Tensor) else list(indices), len(self)).tolist()
        at_once = batch_size or len(chosen) or 1
        parts = (self.__getitems__(chosen[start : start + at_once]) for start in range(0, len(chosen), at_once))
        return [graph for part in parts for graph in part]

    def load(self, rows: list[int]) -> list[ImageGraph]:
        """Reads the graphs of some images at once.

        Args:
            rows: The images' numbers in the whole set.

        Raises:
            DatasetError: A graph is not what was written.
        """
        database = Path(self.processed_paths[0])
        with self._sound(database):
            found = [self.db.get(rows[0])] if len(rows) == 1 else self.db.multi_get(rows)
        if len(found) != len(rows):
            raise DatasetError(f"{database}: expected {len(rows)} graphs, got {len(found)}")
        for number, fields in zip(rows, found, strict=True):
            if _checksum(fields) != self._checksums[number]:
                expected = f"a graph with CRC-32 {self._checksums[number]:08x}"
                raise DatasetError(f"{database}: graph {number}: expected {expected}, got {_checksum(fields):08x}")
        return [self.deserialize(fields) for fields in found]

    @contextmanager
    def _sound(self, database: Path) -> Iterator[None]:
        """Of a damaged database SQLite raises errors, PyG those of what it does with wrong or lacking bytes."""
        try:
            yield
        except (sqlite3.Error, RuntimeError, TypeError, ValueError) as error:
            self.close()
            raise DatasetError(f"{database}: expected a sound database of graphs, got {error}") from error

    def serialize(self, data: Any) -> dict[str, Tensor]:
        """The fields of a graph."""
        return {name: data[name] for name in self.schema}

    def deserialize(self, data: Any) -> ImageGraph:
        """A graph of its fields, in memory of its own."""
        return ImageGraph(**{name: value.clone() for name, value in data.items()})


def _checksum(fields: dict[str, Tensor]) -> int:
    """CRC-32 of the fields' shapes and bytes."""
    checksum = 0
    for name, value in fields.items():
        checksum = zlib.crc32(f"{name} {list(value.shape)}".encode(), checksum)
        checksum = zlib.crc32(value.contiguous().numpy().tobytes(), checksum)
    return checksum


def _check_tables(database: Path, schema: dict[str, Any]) -> None:
    """Refuses a database of other tables, and above all one of views, which are code that reading would run."""
    try:
        expected = SQLiteDatabase(":memory:", GraphCache.__name__, schema)
        tables = "SELECT type, sql FROM sqlite_master"
        wanted = expected.cursor.execute(tables).fetchall()
        expected.close()
        connection = sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True)
        try:
            found = connection.execute(tables).fetchmany(len(wanted) + 1)
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise DatasetError(f"{database}: expected a sound database of graphs, got {error}") from error
    if found != wanted:
        raise DatasetError(f"{database}: expected the tables {wanted}, got {found}")


def _schema(vision: VisionBrain) -> dict[str, Any]:
    """Type and shape of each field of the brain's graphs."""
    shapes: dict[str, tuple[torch.dtype, tuple[int, ...]]] = {
        "x": (torch.float32, (-1, vision.num_features)),
        "edge_index": (torch.int64, (2, -1)),
        "edge_type": (torch.int64, (-1,)),
        "y": (torch.int64, (1,)),
        "pos": (torch.float32, (-1, 2)),
        "node_type": (torch.int64, (-1,)),
        "level": (torch.int64, (-1,)),
        "image_size": (torch.int64, (1, 2)),
    }
    if vision.edge_attr:
        shapes["edge_attr"] = torch.float32, (-1, 3)
    if vision.seg:
        shapes["seg"] = torch.int64, (-1,)
    return {name: {"dtype": dtype, "size": size} for name, (dtype, size) in shapes.items()}
