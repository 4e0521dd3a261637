import re
import socket
import ssl
import time
from pathlib import Path

import pytest

from grapheme_pyg.datasets import DownloadError
from grapheme_pyg.datasets.download import download

CONTENT = bytes(range(256)) * 1000


def verify(path):
    if path.read_bytes() != CONTENT:
        raise ValueError(f"{path}: expected the content, got something else")


def left_in(folder):
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_whole_file_arrives_in_new_folder(mirror, tmp_path):
    mirror.files["/f"] = CONTENT
    target = tmp_path / "a" / "b" / "f"
    download([f"{mirror.url}/f"], target, verify=verify)
    assert target.read_bytes() == CONTENT
    assert left_in(tmp_path) == ["f"]


def test_length_may_be_unannounced(mirror, tmp_path):
    mirror.files["/f"] = (CONTENT, None)
    download([f"{mirror.url}/f"], tmp_path / "f", verify=verify)
    assert (tmp_path / "f").read_bytes() == CONTENT


def test_target_is_absent_while_it_is_verified(mirror, tmp_path):
    mirror.files["/f"] = CONTENT
    seen = []
    download(
        [f"{mirror.url}/f"],
        tmp_path / "f",
        verify=lambda path: seen.append((path, (tmp_path / "f").exists())),
    )
    [(path, target_existed)] = seen
    assert path.parent == tmp_path
    assert not target_existed


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ((CONTENT[:1000], len(CONTENT)), "1000"),
        (CONTENT[:-1] + b"x", "the downloaded file: expected the content, got something else"),
        (None, "404"),
    ],
    ids=["truncated", "tampered", "missing"],
)
def test_bad_mirror_is_named_and_leaves_nothing(mirror, tmp_path, answer, reason):
    mirror.files["/f"] = answer
    url = f"{mirror.url}/f"
    with pytest.raises(DownloadError, match=rf"^f: every download failed: {re.escape(url)} \(.*{reason}"):
        download([url], tmp_path / "f", verify=verify)
    assert left_in(tmp_path) == []


@pytest.mark.parametrize("answer", [None, (CONTENT[:1000], len(CONTENT)), b"wrong"])
def test_next_mirror_is_tried(mirror, closed_url, tmp_path, answer):
    mirror.files.update({"/bad/f": answer, "/good/f": CONTENT})
    urls = [f"{closed_url}/f", f"{mirror.url}/bad/f", f"{mirror.url}/good/f", f"{mirror.url}/never/f"]
    download(urls, tmp_path / "f", verify=verify)
    assert (tmp_path / "f").read_bytes() == CONTENT
    assert left_in(tmp_path) == ["f"]
    assert mirror.requests == ["/bad/f", "/good/f"]


def test_all_failures_are_named(mirror, closed_url, tmp_path):
    mirror.files["/b/f"] = b"wrong"
    urls = [f"{closed_url}/f", f"{mirror.url}/a/f", f"{mirror.url}/b/f", "no-address"]
    with pytest.raises(DownloadError) as caught:
        download(urls, tmp_path / "f", verify=verify)
    for url, reason in zip(urls, ["refused", "404", "expected the content", "No scheme"], strict=True):
        assert re.search(rf"{re.escape(url)} \([^;]*{reason}", str(caught.value)), url
    assert left_in(tmp_path) == []


def test_refused_connection_is_fast(closed_url, tmp_path):
    start = time.monotonic()
    with pytest.raises(DownloadError, match="refused"):
        download([f"{closed_url}/f"] * 3, tmp_path / "f", verify=verify)
    assert time.monotonic() - start < 2


def test_silent_server_is_given_up(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/f"
        start = time.monotonic()
        with pytest.raises(DownloadError, match="timed out"):
            download([url], tmp_path / "f", verify=verify, timeout=(1.0, 0.1))
        assert time.monotonic() - start < 2
    assert left_in(tmp_path) == []


def test_too_long_answer_is_refused(mirror, tmp_path):
    mirror.files["/f"] = CONTENT
    with pytest.raises(DownloadError, match="expected at most 255999 bytes, got more"):
        download([f"{mirror.url}/f"], tmp_path / "f", verify=verify, max_bytes=len(CONTENT) - 1)
    assert left_in(tmp_path) == []


def test_failure_keeps_the_old_target(mirror, tmp_path):
    (tmp_path / "f").write_bytes(b"old")
    mirror.files["/f"] = b"wrong"
    with pytest.raises(DownloadError, match="expected the content"):
        download([f"{mirror.url}/f"], tmp_path / "f", verify=verify)
    assert (tmp_path / "f").read_bytes() == b"old"
    assert left_in(tmp_path) == ["f"]


def test_interruption_leaves_nothing(mirror, tmp_path):
    def interrupt(path):
        assert path.exists()
        raise KeyboardInterrupt

    mirror.files["/f"] = CONTENT
    with pytest.raises(KeyboardInterrupt):
        download([f"{mirror.url}/f"], tmp_path / "f", verify=interrupt)
    assert left_in(tmp_path) == []


def test_unwritable_target_is_reported(mirror, tmp_path):
    mirror.files["/f"] = CONTENT
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DownloadError, match="expected to be able to write this file"):
        download([f"{mirror.url}/f"], tmp_path / "file" / "f", verify=verify)
    assert mirror.requests == []


def test_no_urls(tmp_path):
    with pytest.raises(ValueError, match="urls: expected at least one"):
        download([], tmp_path / "f", verify=verify)


def test_download_error_is_an_os_error():
    assert issubclass(DownloadError, OSError)


def test_a_certificate_that_nobody_vouches_for_is_refused(mirror, tmp_path):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(Path(__file__).with_name("self_signed.pem"))
    mirror.server.socket = context.wrap_socket(mirror.server.socket, server_side=True)
    mirror.files["/f"] = CONTENT
    url = mirror.url.replace("http:", "https:")
    with pytest.raises(DownloadError, match=r"certificate verify failed: self.signed certificate"):
        download([f"{url}/f"], tmp_path / "f", verify=verify)
    assert mirror.requests == left_in(tmp_path) == []
