"""Files that are written whole: what is done to the disk, and in which order."""

import os
import re
from itertools import count
from pathlib import Path
from threading import Thread

import pytest
from systems import needs_linux, needs_posix

from grapheme_pyg import atomic
from grapheme_pyg.atomic import put_file, put_files, replace_file, temporary, writing


def names(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def shown(text: str) -> str:
    """Names of temporary files, of which no two are the same, as one."""
    return re.sub(r"\.[0-9a-f]{16}\.part", "PART", text)


@pytest.fixture
def done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, dict[str, bytes]]]:
    """What is done to the disk: the call, its file, and all files of the folder just before it."""
    calls: list[tuple[str, str, dict[str, bytes]]] = []

    def told(call: str, *paths: Path) -> None:
        called = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
        calls.append((call, shown(" ".join(path.name for path in paths)), {shown(k): v for k, v in called.items()}))

    fsync, replace, link = os.fsync, Path.replace, Path.hardlink_to

    def told_fsync(number: int) -> None:
        told("fsync", Path(f"/proc/self/fd/{number}").readlink())
        fsync(number)

    def told_replace(path: Path, target: Path) -> Path:
        told("replace", path, target)
        return replace(path, target)

    def told_link(path: Path, target: Path) -> None:
        told("link", target, path)
        link(path, target)

    monkeypatch.setattr(os, "fsync", told_fsync)
    monkeypatch.setattr(Path, "replace", told_replace)
    monkeypatch.setattr(Path, "hardlink_to", told_link)
    return calls


@needs_linux
def test_the_content_is_on_the_disk_before_it_has_the_name_and_the_name_after(done, tmp_path: Path) -> None:
    replace_file(tmp_path / "a", b"new")
    assert [call[:2] for call in done] == [("fsync", "PART"), ("replace", "PART a"), ("fsync", tmp_path.name)]
    # What is brought to the disk is all of it.
    assert done[0][2] == {"PART": b"new"}
    assert names(tmp_path) == {"a": b"new"}


@needs_linux
def test_all_of_many_files_are_on_the_disk_before_one_has_its_name(done, tmp_path: Path) -> None:
    contents = {str(number): b"%d" % number for number in range(40)}
    put_files(tmp_path, contents)
    assert [call[0] for call in done] == ["fsync"] * 40 + ["replace"] * 40 + ["fsync"]
    assert done[-1][1] == tmp_path.name
    assert names(tmp_path) == contents
    put_files(tmp_path, {})
    assert len(done) == 81


def test_of_many_files_none_is_new_if_one_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "3").write_bytes(b"old")
    fsync, calls = os.fsync, count(1)

    def fail_at_last(number: int) -> None:
        if next(calls) == 20:
            raise OSError(28, "No space left on device")
        fsync(number)

    monkeypatch.setattr(os, "fsync", fail_at_last)
    with pytest.raises(OSError, match="No space left"):
        put_files(tmp_path, {str(number): b"new" for number in range(20)})
    assert names(tmp_path) == {"3": b"old"}


@needs_linux
def test_the_name_is_never_missing(done, tmp_path: Path) -> None:
    for content in (b"1", b"2", b"3"):
        replace_file(tmp_path / "a", content, keep_as=tmp_path / "b")
    assert names(tmp_path) == {"a": b"3", "b": b"2"}
    assert [call[:2] for call in done[-5:]] == [
        ("fsync", "PART"),
        ("link", "a PART"),
        ("replace", "PART b"),
        ("replace", "PART a"),
        ("fsync", tmp_path.name),
    ]
    # From the first time on, before each thing that is done.
    assert all("a" in files for *_, files in done[2:])
    assert all(files["b"] in (b"1", b"2") for *_, files in done[8:])


def test_a_write_that_was_killed_is_made_good(tmp_path: Path) -> None:
    # Between the two names; and while it was written.
    (tmp_path / "a").write_bytes(b"1")
    (tmp_path / "b").hardlink_to(tmp_path / "a")
    (tmp_path / ".0123456789abcdef.part").write_bytes(b"x")
    (tmp_path / ".abcdef0123456789.part").write_bytes(b"y")
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


@needs_posix
def test_of_temporary_files_those_of_the_living_stay(tmp_path: Path) -> None:
    (tmp_path / ".0123456789abcdef.part").write_bytes(b"of one that was killed")
    with writing(tmp_path), temporary(tmp_path) as part:
        part.write_bytes(b"of one that lives")
        replace_file(tmp_path / "a", b"1")
        assert names(tmp_path) == {"a": b"1", part.name: b"of one that lives"}
    assert names(tmp_path) == {"a": b"1"}


@needs_posix
def test_one_alone_waits_for_the_others(tmp_path: Path) -> None:
    seen = []

    def write() -> None:
        with writing(tmp_path, alone=True):
            seen.append("alone")

    thread = Thread(target=write)
    with writing(tmp_path):
        thread.start()
        thread.join(0.05)
        seen.append("together")
    thread.join()
    assert seen == ["together", "alone"]


@needs_posix
def test_folders_that_cannot_be_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(9, "Bad file descriptor")

    monkeypatch.setattr(atomic, "flock", refuse)
    (tmp_path / ".0123456789abcdef.part").write_bytes(b"x")
    with writing(tmp_path, alone=True):
        put_file(tmp_path / "a", b"1")
    # Whose it is cannot be known.
    assert names(tmp_path) == {"a": b"1", ".0123456789abcdef.part": b"x"}


@needs_posix
def test_links_are_replaced_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "mine").write_bytes(b"mine")
    for name in ("a", "a.part", "b", "b.part"):
        (tmp_path / name).symlink_to(tmp_path / "mine")
    replace_file(tmp_path / "a", b"1")
    replace_file(tmp_path / "a", b"2", keep_as=tmp_path / "b")
    assert names(tmp_path) == {"a": b"2", "a.part": b"mine", "b": b"1", "b.part": b"mine", "mine": b"mine"}
    assert not (tmp_path / "b").is_symlink()
