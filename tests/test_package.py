"""What importing the package does and does not do."""

import subprocess
import sys

import grapheme_pyg


def test_public_names_exist() -> None:
    for name in grapheme_pyg.__all__:
        assert getattr(grapheme_pyg, name).__name__ == name


def test_importing_loads_neither_lightning_nor_matplotlib() -> None:
    script = (
        "import sys, grapheme_pyg, grapheme_pyg.datasets\n"
        "print(sorted({'pytorch_lightning', 'matplotlib', 'mlxtend'} & set(sys.modules)))\n"
    )
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"
