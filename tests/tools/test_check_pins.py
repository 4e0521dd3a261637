"""Bad pins are found, and ours are good."""

import check_pins
import pytest
from check_pins import ROOT, asked_for, brought, check_asked, check_installed, check_known_bad, check_locked, read_pins
from packaging.requirements import Requirement
from packaging.version import Version

SUM = "a" * 64


def pins(**versions: str) -> dict[str, Version]:
    return {name.replace("_", "-"): Version(version) for name, version in versions.items()}


def test_ours_are_good(capsys: pytest.CaptureFixture[str]) -> None:
    assert check_pins.main() == 0, capsys.readouterr().err
    assert "nothing wrong" in capsys.readouterr().out


def test_the_script_fails_on_a_bad_pin(
    tmp_path: object, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("pyproject.toml", "constraints.txt", *(f"locked/{one}.txt" for one in check_pins.LISTS)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text((ROOT / name).read_text())
    constraints = tmp_path / "constraints.txt"
    constraints.write_text(constraints.read_text().replace("pytorch-lightning==2.6.6", "pytorch-lightning==2.6.5"))
    monkeypatch.setattr(check_pins, "ROOT", tmp_path)
    assert check_pins.main() == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("constraints.txt: expected no pytorch-lightning <2.6.6 (")
    assert lines[0].endswith("CVE-2026-58659), got 2.6.5")
    assert "pyproject.toml: expected pytorch-lightning>=2.6.6 to be pinned, got 2.6.5" in lines
    assert "locked: expected pytorch-lightning 2.6.5, got 2.6.6 (make lock)" in lines


@pytest.mark.parametrize(
    ("package", "version", "bad"),
    [
        ("lightning", "2.6.2", True),
        ("lightning", "2.6.3", True),
        ("lightning", "2.6.6", False),
        ("pytorch-lightning", "2.6.5.post1", True),
        ("pytorch-lightning", "2.6.6", False),
        ("torch", "2.9.1+cpu", True),
        ("torch", "2.10.0+cpu", False),
        ("pillow", "12.1.1", True),
        ("pillow", "12.2.0", False),
        ("numpy", "1.0", False),
    ],
)
def test_known_bad_versions(package: str, version: str, bad: bool) -> None:
    assert bool(check_known_bad({package: Version(version)}, "constraints.txt")) is bad


def test_pins_are_exact() -> None:
    found, wrong = read_pins("# why\n\nSome_Package==1.0\nb>=2\nc\nd==1.*\nsome-package==1.1\n")
    assert found == pins(some_package="1.0")
    assert [line.split("got ")[1] for line in wrong] == ["'b>=2'", "'c'", "'d==1.*'", "it again"]


def test_what_is_asked_for_is_pinned() -> None:
    text = """
[project]
name = "Our_Package"
dependencies = ["a>=1", "b[x]>=2"]
optional-dependencies.more = ["our-package[other]", "C-c"]
optional-dependencies.other = ["torch>=2.9"]
"""
    asked = asked_for(text)
    assert [one.name for one in asked] == ["a", "b", "C-c", "torch"]
    assert check_asked(asked, pins(a="1.5", b="2", c_c="1", torch="2.13"))[0].startswith(
        "pyproject.toml: expected no torch <2.10"
    )
    assert check_asked(asked[:3], pins(a="0.9", b="2")) == [
        "pyproject.toml: expected a>=1 to be pinned, got 0.9",
        "pyproject.toml: expected C-c to be pinned, got None",
    ]


def test_locked_are_the_pins_with_hashes() -> None:
    good = f"# head\na==1.0 \\\n    --hash=sha256:{SUM}\nb==2.0 ; sys_platform == 'linux' \\\n    --hash=sha256:{SUM}\n"
    assert check_locked([good], pins(a="1.0", b="2.0")) == []
    assert check_locked([good], pins(a="1.0", b="2.1", c="3")) == [
        "locked: expected b 2.1, got 2.0 (make lock)",
        "locked: expected c 3, got None (make lock)",
    ]
    two = [f"a==1.0{local} \\\n    --hash=sha256:{SUM}\n" for local in ("+cpu", "")]
    assert check_locked(two, pins(a="1.0")) == []
    assert check_locked([*two, two[1].replace("1.0", "1.1")], pins(a="1.0")) == [
        "locked: expected one version of a, got 1.0 and 1.1"
    ]
    unhashed, _ = check_locked(["a==1.0\n"], pins(a="1.0"))
    assert unhashed == "locked: expected name==version and hashes, got 'a==1.0'"


def test_what_is_installed_is_pinned() -> None:
    assert check_installed(pins(a="1.0", torch="2.13.0+cpu"), pins(a="1.0", torch="2.13.0")) == []
    assert check_installed(pins(a="1.1", b="2"), pins(a="1.0")) == [
        "installed: expected a 1.0, got 1.1",
        "installed: expected b None, got 2",
    ]


def test_what_comes_with_others() -> None:
    found = brought([Requirement("jsonargparse[signatures]"), Requirement("no-such-package; python_version < '3'")])
    # By itself, by an extra, and not for another Python.
    assert {"jsonargparse", "pyyaml", "docstring-parser"} <= found.keys()
    assert "no-such-package" not in found
    assert "docstring-parser" not in brought([Requirement("jsonargparse")])
