"""Graphs of labelled images, made once and kept on disk."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Database, OnDiskDataset

from grapheme_pyg.datasets.image_files import ImageFiles
from grapheme_pyg.datasets.image_graphs import ImageDataset, ImageSequenceDataset
from grapheme_pyg.vision import ImageGraph, VisionBrain

DESCRIPTION = "description.json"
AT_ONCE = 256


class GraphCache(OnDiskDataset):
    """The graphs of labelled images, in a database in a folder: tensors, nothing pickled.

    They are made at first use, many at once. A folder that was left unfinished is made anew; one that holds the graphs
    of other images, or of another brain, is refused. Workers of a ``DataLoader`` may read from it.

    Args:
        root: The folder; made if missing.
        images: The images and labels, without augmentation.
        vision: Makes the graphs.

    Attributes:
        num_nodes: ``[N]`` int64, of each graph, for a budget.
        num_edges: ``[N]`` int64.

    Raises:
        ValueError: The images are augmented, or the folder is not theirs.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> images = ImageDataset(torch.zeros(2, 28, 28, dtype=torch.uint8), torch.tensor([3, 4]))
        >>> with TemporaryDirectory() as folder:
        ...     cache = GraphCache(folder, images, VisionBrain())
        ...     cache[1].y
        tensor([4])
    """

    def __init__(self, root: str | Path, images: ImageDataset | ImageSequenceDataset, vision: VisionBrain) -> None:
        if images.augment is not None:
            raise ValueError("images: expected none that are augmented, as each graph is made once")
        self._images, self._vision = images, vision
        self._described = {"images": _fingerprint(images), "vision": vision.config}
        self._process_id = os.getpid()
        path = Path(root) / "processed" / DESCRIPTION
        if path.exists():
            found = json.loads(path.read_text())
            for name, value in self._described.items():
                if found[name] != value:
                    raise ValueError(f"{root}: expected graphs with {name} {value}, got {found[name]}")
        super().__init__(str(root), schema=_schema(vision), log=False)
        sizes = json.loads(path.read_text())
        self.num_nodes, self.num_edges = torch.tensor(sizes["num_nodes"]), torch.tensor(sizes["num_edges"])

    @property
    def processed_file_names(self) -> list[str]:
        """The database, and what it is of, which is written last."""
        return ["graphs.db", DESCRIPTION]

    @property
    def db(self) -> Database:
        """The database, opened in each process by itself."""
        if self._process_id != os.getpid():
            self._db, self._process_id = None, os.getpid()
        return super().db

    def process(self) -> None:
        """Makes the graphs."""
        self.close()
        self._db = None
        Path(self.processed_paths[0]).unlink(missing_ok=True)
        nodes: list[int] = []
        edges: list[int] = []
        for start in range(0, len(self._images), AT_ONCE):
            chosen = list(range(start, min(start + AT_ONCE, len(self._images))))
            graphs = self._vision.batch(*self._images[chosen]).to_data_list()
            self.extend(graphs)
            nodes += [graph.num_nodes for graph in graphs]
            edges += [graph.num_edges for graph in graphs]
        self.close()
        self._db = None
        description = self._described | {"num_nodes": nodes, "num_edges": edges}
        Path(self.processed_paths[1]).write_text(json.dumps(description) + "\n")

    def serialize(self, data: Any) -> dict[str, Tensor]:
        """The fields of a graph."""
        return {name: data[name] for name in self.schema}

    def deserialize(self, data: Any) -> ImageGraph:
        """A graph of its fields, in memory of its own."""
        return ImageGraph(**{name: value.clone() for name, value in data.items()})


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


def _fingerprint(images: ImageDataset | ImageSequenceDataset) -> str:
    """Of labels and pixels; of files, of their names, sizes and times."""
    digest = hashlib.sha256(images.labels.numpy().tobytes())
    if isinstance(images.images, Tensor):
        digest.update(repr(tuple(images.images.shape)).encode())
        digest.update(images.images.contiguous().numpy().tobytes())
    elif isinstance(images.images, ImageFiles):
        digest.update(str(images.images.in_channels).encode())
        for path in images.images.paths:
            known = path.stat()
            digest.update(f"{path}\n{known.st_size} {known.st_mtime_ns}\n".encode())
    else:
        for image in images.images:
            digest.update(repr(tuple(image.shape)).encode())
            digest.update(image.contiguous().numpy().tobytes())
    return digest.hexdigest()
