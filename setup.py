"""Compiles the kernels for CPUs; without PyTorch or a C++ compiler the package installs without them, and is slower."""

import sys
import warnings
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext

FOLDER = Path("grapheme_pyg/csrc")
# Products are fused where the code says so: elsewhere, results must not depend on what a compiler chose.
FLAGS = "-std=c++20 -O3 -g0 -fvisibility=hidden -ffp-contract=off -fno-math-errno -fno-trapping-math"


class OneWheel(bdist_wheel):
    """One wheel serves all versions of Python, as the kernels are a library and no module of it."""

    def get_tag(self) -> tuple[str, str, str]:
        """Only the platform counts."""
        return "py3", "none", super().get_tag()[2]


class BuildKernels(build_ext):
    """Builds a library that PyTorch loads, not a module of Python: one serves all versions of both."""

    def get_ext_filename(self, fullname: str) -> str:
        """The same for every version of Python."""
        return str(Path(*fullname.split(".")).with_suffix(".so"))

    def get_export_symbols(self, ext: Extension) -> list[str]:  # noqa: ARG002
        """None, as it has no function that initialises a module."""
        return []

    def build_extension(self, ext: Extension) -> None:
        """Says aloud what the package misses if this fails, which does not stop the installation."""
        try:
            super().build_extension(ext)
        except Exception as error:  # whatever it is, it goes on to setuptools, which knows that this is optional
            warnings.warn(f"{error}. The slow path is installed: the kernels were not compiled.", stacklevel=1)
            raise


def kernels() -> list[Extension]:
    """The library with the kernels, where it can be built."""
    if sys.platform == "win32":
        warnings.warn("The slow path is installed: the kernels need GCC or Clang, which Windows lacks.", stacklevel=1)
        return []
    try:
        from torch.utils.cpp_extension import include_paths, library_paths
    except ImportError as error:
        warnings.warn(f"{error}. The slow path is installed: the kernels need PyTorch at build time.", stacklevel=1)
        return []
    return [
        Extension(
            "grapheme_pyg._kernels",
            sorted(str(path) for path in FOLDER.glob("*.cpp")),
            depends=[str(path) for path in FOLDER.glob("*.[hi]*")],
            include_dirs=include_paths(),
            library_dirs=library_paths(),
            libraries=["torch_cpu"],
            # The oldest PyTorch whose stable interface has what the kernels call: 2.10.
            define_macros=[("TORCH_TARGET_VERSION", "0x020a000000000000")],
            extra_compile_args=FLAGS.split(),
            language="c++",
            optional=True,
        )
    ]


setup(ext_modules=kernels(), cmdclass={"bdist_wheel": OneWheel, "build_ext": BuildKernels})
