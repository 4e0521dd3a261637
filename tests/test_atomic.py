"""Files that are written whole: what is done to the disk, and in which order."""

import os
from pathlib import Path

import pytest

from grapheme_pyg.atomic import replace_file


def names(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, dict[str, bytes]]]:
    """What is done to the disk: the call, its file, and all files of the folder just before it."""
    calls: list[tuple[str, str, dict[str, bytes]]] = []
    fsync, replace, link = os.fsync, Path.replace, Path.hardlink_to

    def told_fsync(number: int) -> None:
        calls.append(("fsync", Path(f"/proc/self/fd/{number}").readlink().name, names(tmp_path)))
        fsync(number)

    def told_replace(path: Path, target: Path) -> Path:
        calls.append(("replace", f"{path.name} {target.name}", names(tmp_path)))
        return replace(path, target)

    def told_link(path: Path, target: Path) -> None:
        calls.append(("link", f"{target.name} {path.name}", names(tmp_path)))
        link(path, target)

    monkeypatch.setattr(os, "fsync", told_fsync)
    monkeypatch.setattr(Path, "replace", told_replace)
    monkeypatch.setattr(Path, "hardlink_to", told_link)
    return calls


def test_the_content_is_on_the_disk_before_it_has_the_name_and_the_name_after(done, tmp_path: Path) -> None:
    replace_file(tmp_path / "a", b"new")
    assert [call[:2] for call in done] == [("fsync", "a.part"), ("replace", "a.part a"), ("fsync", tmp_path.name)]
    # What is brought to the disk is all of it.
    assert done[0][2] == {"a.part": b"new"}
    assert names(tmp_path) == {"a": b"new"}


def test_the_name_is_never_missing(done, tmp_path: Path) -> None:
    for content in (b"1", b"2", b"3"):
        replace_file(tmp_path / "a", content, keep_as=tmp_path / "b")
    assert names(tmp_path) == {"a": b"3", "b": b"2"}
    assert [call[:2] for call in done[-5:]] == [
        ("fsync", "a.part"),
        ("link", "a b.part"),
        ("replace", "b.part b"),
        ("replace", "a.part a"),
        ("fsync", tmp_path.name),
    ]
    # From the first time on, before each thing that is done.
    assert all("a" in files for *_, files in done[2:])
    assert all(files["b"] in (b"1", b"2") for *_, files in done[8:])


def test_a_write_that_was_killed_is_made_good(tmp_path: Path) -> None:
    # Between the two names; and while it was written.
    (tmp_path / "a").write_bytes(b"1")
    (tmp_path / "b").hardlink_to(tmp_path / "a")
    (tmp_path / "b.part").write_bytes(b"x")
    (tmp_path / "a.part").write_bytes(b"y")
    replace_file(tmp_path / "a", b"2", keep_as=tmp_path / "b")
    replace_file(tmp_path / "a", b"3", keep_as=tmp_path / "b")
    assert names(tmp_path) == {"a": b"3", "b": b"2"}


def test_file_systems_without_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    for content in (b"1", b"2"):
        replace_file(tmp_path / "a", content, keep_as=tmp_path / "b")
    assert names(tmp_path) == {"a": b"2", "b": b"1"}


def test_what_cannot_be_written_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replace_file(tmp_path / "a", b"1")

    def fail(_: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="Input/output error"):
        replace_file(tmp_path / "a", b"2", keep_as=tmp_path / "b")
    assert names(tmp_path) == {"a": b"1"}
