"""Downloads of files from the first mirror that serves them complete and unchanged."""

from __future__ import annotations

import hashlib
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import requests

from grapheme_pyg.atomic import temporary, writing
from grapheme_pyg.datasets.local_files import cache_folder
from grapheme_pyg.errors import DatasetError
from grapheme_pyg.progress_bar import Bar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_MAX_BYTES = 1 << 30
_CHUNK = 1 << 16


class DownloadError(OSError):
    """No mirror delivered the file, or it could not be stored."""


def download(
    urls: Sequence[str],
    target: Path,
    *,
    verify: Callable[[Path], None],
    timeout: tuple[float, float] = (5.0, 30.0),
    max_bytes: int = _MAX_BYTES,
) -> None:
    """Download a file, trying one URL after the other until one delivers the right content.

    The target appears only when it is complete and verified; otherwise nothing is left behind.

    Args:
        urls: Addresses of the file, in order of preference.
        target: The path of the file; missing parent folders are made.
        verify: A function of the path of the downloaded file, which raises ValueError if the content is wrong.
        timeout: Seconds to wait for a connection, and between two pieces of the answer.
        max_bytes: The most bytes that the file may have.

    Raises:
        ValueError: If there are no URLs.
        DownloadError: If every URL failed (the message names each one and why), or if the file could not
            be written.
    """
    if not urls:
        raise ValueError("urls: expected at least one URL, got none")
    failures = []
    try:
        with writing(target.parent):
            for url in urls:
                # Under a temporary name, two processes can download the same file at once.
                with temporary(target.parent) as part:
                    try:
                        _fetch(url, part, target.name, timeout, max_bytes)
                        verify(part)
                    except (requests.RequestException, ValueError) as error:
                        # The temporary name means nothing to the reader.
                        reason = str(error).replace(str(part), "the downloaded file")
                        failures.append(f"{url} ({reason})")
                    else:
                        part.replace(target)
                        return
    except OSError as error:
        raise DownloadError(f"{target}: expected to be able to write this file, got {error}") from error
    raise DownloadError(f"{target.name}: every download failed: {'; '.join(failures)}")


def cached_archive(url: str, name: str, *, sha256: str, max_bytes: int) -> Path:
    """Return the path of a data set's archive in the cache, where it is downloaded if it is missing.

    Args:
        url: The address of the archive.
        name: The data set's folder in the cache.
        sha256: The archive's SHA-256, which is verified each time.
        max_bytes: The most bytes that the archive may have.

    Raises:
        DatasetError: If the archive in the cache has another checksum.
        DownloadError: If the archive cannot be downloaded.
    """
    path = cache_folder() / name / url.rpartition("/")[2]
    verify = partial(check_archive, digest=sha256)
    if not path.exists():
        download([url], path, verify=verify, max_bytes=max_bytes)
        return path
    try:
        verify(path)
    except DatasetError as error:
        raise DatasetError(f"{error}; delete the file to have it downloaded again") from error
    return path


def check_archive(path: Path, digest: str, algorithm: str = "sha256") -> None:
    """Compare the checksum of a file with the published one, against damage and mix-ups.

    Raises:
        DatasetError: If they differ.
    """
    with path.open("rb") as file:
        found = hashlib.file_digest(file, partial(hashlib.new, algorithm, usedforsecurity=False)).hexdigest()
    if found != digest:
        name = {"sha256": "SHA-256", "md5": "MD5"}[algorithm]
        raise DatasetError(f"{path}: expected an archive with {name} {digest}, got {found}")


def _fetch(url: str, path: Path, label: str, timeout: tuple[float, float], max_bytes: int) -> None:
    # The files are compressed; "identity" keeps servers from compressing them again.
    headers = {"Accept-Encoding": "identity"}
    with requests.get(url, stream=True, timeout=timeout, headers=headers) as response:
        response.raise_for_status()
        length = response.headers.get("Content-Length", "")
        total = int(length) if length.isdecimal() and "Content-Encoding" not in response.headers else None
        received = 0
        # disable=None hides the bar if stderr is not a terminal.
        with (
            path.open("xb") as file,
            Bar(total=total, unit="B", unit_scale=True, desc=label, disable=None) as bar,
        ):
            for chunk in response.iter_content(_CHUNK):
                received += len(chunk)
                if received > max_bytes:
                    raise ValueError(f"expected at most {max_bytes} bytes, got more")
                file.write(chunk)
                bar.update(len(chunk))
    # Older versions of urllib3 do not notice a connection that closes early.
    if total is not None and received != total:
        raise ValueError(f"expected {total} bytes, got {received}")
