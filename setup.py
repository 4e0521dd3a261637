"""Compiles the kernels; without a C compiler the package installs without them, and is slower."""

import sys
from pathlib import Path

from setuptools import Extension, setup

FOLDER = Path("grapheme_pyg/native")
kernels = Extension(
    "grapheme_pyg._native",
    sorted(str(path) for path in FOLDER.glob("*.c")),
    depends=[str(path) for path in FOLDER.glob("*.[hi]*")],
    extra_compile_args=["-O3", "-fno-math-errno", "-ffp-contract=off", "-fopenmp"],
    extra_link_args=["-fopenmp"],
    optional=True,
)
# They share the threads of PyTorch, which are OpenMP's on Linux; elsewhere they are not tried.
setup(ext_modules=[kernels] if sys.platform == "linux" else [])
