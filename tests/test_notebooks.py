"""The notebooks, as Jupyter runs them: all cells in order in one process, in an empty folder."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

FOLDER = Path(__file__).parents[1] / "examples" / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


def cells(path: Path) -> list[str]:
    """The code of a notebook, cell by cell."""
    return ["".join(cell["source"]) for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]


def run(name: str, folder: Path) -> str:
    """What the cells of a notebook print; without data of MNIST, and without a display."""
    code = "\n\n".join(cells(FOLDER / name))
    finished = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        capture_output=True,
        text=True,
        env=os.environ | {"MPLBACKEND": "Agg", "GRAPHEME_DATA": ""},
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_are_kept_without_outputs(path: Path) -> None:
    notebook = json.loads(path.read_text())
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    ids = [cell["id"] for cell in notebook["cells"]]
    assert len(set(ids)) == len(ids)
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            assert (cell["outputs"], cell["execution_count"]) == ([], None)
            compile("".join(cell["source"]), path.name, "exec")  # no commands of Jupyter's own


@pytest.mark.slow
def test_first_steps(tmp_path: Path) -> None:
    out = run("first_steps.ipynb", tmp_path)
    before, after = map(float, re.search(r"loss (\S+) → (\S+)", out).groups())
    assert after < before / 2
    assert float(re.search(r"test accuracy (\S+)%", out)[1]) > 85
    found, lost = map(int, re.search(r"(\d+) of 30 new triangles recognised, (\d+) of 1,000", out).groups())
    assert found >= 24
    assert lost <= 20
    assert out.endswith("'triangle'] ['triangle']\n")


@pytest.mark.slow
def test_your_own_folder(tmp_path: Path) -> None:
    out = run("your_own_folder.ipynb", tmp_path)
    assert "('cross', 'disc', 'ring'): 144 training, 36 validation pictures" in out
    assert int(re.search(r"validation accuracy (\d+)%", out)[1]) > 80
    assert re.findall(r"^(\w+) \(\d+%\)$", out, re.MULTILINE) == ["cross", "disc", "ring"]
    assert out.endswith("True\n")
    with Image.open(next((tmp_path / "shapes" / "ring").glob("*.jpg"))) as picture:
        assert picture.mode == "RGB"
