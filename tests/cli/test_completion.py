"""Completion scripts, in real shells."""

import io
import shutil
import subprocess
import sys
from contextlib import redirect_stdout
from pathlib import Path

import pytest
from console import run

from grapheme_pyg.cli import COMMANDS, main

pytest.importorskip("shtab", reason="an extra")


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a script for each shell, without the demo, whose imports take seconds."""
    folder = tmp_path_factory.mktemp("scripts")
    with pytest.MonkeyPatch.context() as patch:
        patch.delitem(COMMANDS, "demo")
        for shell in ("bash", "zsh"):
            with redirect_stdout(io.StringIO()) as out:
                assert main(["completion", shell]) == 0
            (folder / shell).write_text(out.getvalue())
    return folder


def completed(script: Path, *words: str, folder: Path | None = None) -> list[str]:
    """Completions that bash offers for the last word of a command line."""
    program = f"""
        source {script}
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
        _shtab_grapheme grapheme "${{@: -1}}" "${{@: -2:1}}"
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    command = ["bash", "--norc", "-c", program, "bash", "grapheme", *words]
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd=folder).stdout.split()


def test_bash(scripts: Path, tmp_path: Path) -> None:
    script = scripts / "bash"
    subprocess.run(["bash", "-n", script], check=True)
    assert completed(script, "pre") == ["predict"]
    assert completed(script, "") == [name for name in COMMANDS if name != "demo"]
    assert {"--json", "--top-k", "--csv"} <= set(completed(script, "predict", "--"))
    assert completed(script, "train", "mnist", "--settings.ep") == ["--settings.epochs"]
    assert completed(script, "train", "mnist", "--preset", "ti") == ["tiny"]
    assert completed(script, "completion", "z") == ["zsh"]
    (tmp_path / "model").mkdir()
    (tmp_path / "more.png").touch()
    assert completed(script, "predict", "mo", folder=tmp_path) == ["model", "more.png"]
    assert completed(script, "predict", "model", "mor", folder=tmp_path) == ["more.png"]
    assert completed(script, "train", "mo", folder=tmp_path) == ["model", "more.png"]


def test_zsh(scripts: Path) -> None:
    text = (scripts / "zsh").read_text()
    assert text.startswith("#compdef grapheme\n")
    for name in COMMANDS:
        assert (f"\n    {name}:'" in text) is (name != "demo")
    assert ":(bash zsh)" in text
    if shutil.which("zsh"):
        subprocess.run(["zsh", "-n", scripts / "zsh"], check=True)


def test_options_of_a_command_whose_extra_is_missing_are_left_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "grapheme_pyg.cli.demo", None)
    code, out, _ = run(capsys, "completion", "bash")
    assert code == 0
    (tmp_path / "script").write_text(out)
    assert completed(tmp_path / "script", "de") == ["demo"]
    assert completed(tmp_path / "script", "demo", "--t") == []


@pytest.mark.slow
def test_the_demo(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    pytest.importorskip("gradio", reason="an extra")
    (tmp_path / "script").write_text(run(capsys, "completion", "bash")[1])
    assert completed(tmp_path / "script", "demo", "--t") == ["--teach-dir"]


def test_without_shtab(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "shtab", None)
    code, _, err = run(capsys, "completion", "bash")
    assert (code, err.count("\n")) == (1, 1)
    assert "shtab is needed to make completion scripts: " in err
    assert err.endswith(" -m pip install shtab\n")
