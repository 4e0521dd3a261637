"""Checks an installed wheel: run it with a Python that has the wheel and no clone of the sources in its path."""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

from grapheme_pyg import __file__ as installed
from grapheme_pyg import list_pretrained
from grapheme_pyg.ops import compiled

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--kernels", action="store_true", help="expect compiled kernels, and otherwise none")
options = parser.parse_args()

assert "site-packages" in Path(installed).parts, installed
assert compiled() is options.kernels, f"kernels: {compiled()}"
stroke = np.zeros((28, 28), np.uint8)
stroke[4:24, 13:16] = 255
with TemporaryDirectory() as folder:
    Image.fromarray(stroke).save(Path(folder, "digit.png"))
    for model in list_pretrained():
        if model.startswith("mnist-"):
            command = [sys.executable, "-m", "grapheme_pyg", "predict", model, "digit.png", "--json"]
            done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, check=True)
            (answer,) = json.loads(done.stdout)
            assert answer["label"] == "1", answer
