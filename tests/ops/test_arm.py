"""The kernels' products on ARM, whose instructions (NEON) an emulator knows: the compiler of the tests' own processor
says nothing of them."""

import shutil
import subprocess
from pathlib import Path

import pytest

COMPILER, EMULATOR = "aarch64-linux-gnu-g++", "qemu-aarch64"
HERE = Path(__file__).parent
SOURCES = Path(__file__).parents[2] / "grapheme_pyg/csrc"
# Those that are compiled for every processor, and those for some, which are empty elsewhere.
NAMES = ("kernels", "kernels_baseline", "kernels_avx2", "kernels_avx512", "kernels_avx512bf16", "tables")
# As setup.py has them.
FLAGS = "-std=c++20 -O3 -ffp-contract=off -fno-math-errno -fno-trapping-math -static"


@pytest.mark.slow
@pytest.mark.parametrize("compiler", ["g++", COMPILER])
def test_products_are_those_of_loops(compiler: str, tmp_path: Path) -> None:
    emulator = [EMULATOR] if compiler == COMPILER else []
    for program in (compiler, *emulator):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    files = [HERE / "products_check.cpp", *(SOURCES / f"{name}.cpp" for name in NAMES)]
    built = tmp_path / "check"
    subprocess.run([compiler, *FLAGS.split(), *map(str, files), "-o", str(built)], check=True)
    done = subprocess.run([*emulator, str(built)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("float32 ")
