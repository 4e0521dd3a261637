"""Compiles the kernels of the typed convolution; without a C compiler the package installs without them."""

import sys

from setuptools import Extension, setup

# PyTorch's own threads are OpenMP's on Linux; elsewhere the kernels are not tried.
kernels = Extension(
    "grapheme_pyg.nn._kernels",
    ["grapheme_pyg/nn/_kernels.c"],
    extra_compile_args=["-O3", "-fopenmp"],
    extra_link_args=["-fopenmp"],
    optional=True,
)
setup(ext_modules=[kernels] if sys.platform == "linux" else [])
