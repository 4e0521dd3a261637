"""Writes `locked/`: the pins of `constraints.txt` with the SHA-256 sums of all their archives, for every platform.

pip takes no archive with another sum (its hash-checking mode). There are several lists, so that each build of PyTorch
can be had: `torch-cpu.txt` and `torch.txt` are the CPU build and that of PyPI; `cuda.txt` is what the latter needs on
Linux; `train.txt` what `make mnist` needs besides; `dev.txt` what `make test` needs besides that.

    make lock
"""

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LOCKED = ROOT / "locked"
# What `make mnist` is made of.
TRAIN = ("train", "plot", "mnist5k", "superpixel")
# The oldest that all packages run on: soupsieve, of the documentation, asks for it; the Makefile says so too.
PYTHON = "3.11.5"
CUDA = re.compile(r"nvidia-|cuda-|triton$")
# PyTorch's CPU builds for Linux are not on PyPI, but in an index of PyTorch's own, which uv is not asked to trust. Lock
# files of two other projects, made from that index, agree on each of these sums; that of the wheel for Python 3.11 on
# x86-64 was also computed. Elsewhere than on Linux the build from PyPI is a CPU build already.
CPU_BUILDS = {
    "torch-2.13.0+cpu-cp311-cp311-manylinux_2_28_aarch64.whl": (
        "84453b69508ec79902f899c5ed9495acb9e2bbe9fda5f1d5d6f19e3c3842e1a7"
    ),
    "torch-2.13.0+cpu-cp311-cp311-manylinux_2_28_x86_64.whl": (
        "6746dbcbeb526eb61330b76b41ff1b4eb848951103a892eeb080dfa2b264667b"
    ),
    "torch-2.13.0+cpu-cp312-cp312-manylinux_2_28_aarch64.whl": (
        "6f307c2c32d764ffc6ff6893b801fad6d4752f3e67966cb8abf1843427c02604"
    ),
    "torch-2.13.0+cpu-cp312-cp312-manylinux_2_28_x86_64.whl": (
        "4ca4a9394b0c771238a4f73590fdbbc4debad85ed0fa63d026ae1b085da7d6e2"
    ),
    "torch-2.13.0+cpu-cp313-cp313-manylinux_2_28_aarch64.whl": (
        "0b8f7d0423027ae8b90c7977c627f3379f325363a08224dffad9b4b2d684a83d"
    ),
    "torch-2.13.0+cpu-cp313-cp313-manylinux_2_28_x86_64.whl": (
        "3fbf9c9d1f3c10c2d59d04aca426dee9ccc6ceb32d255c61e93acc3b4f75fae6"
    ),
    "torch-2.13.0+cpu-cp314-cp314-manylinux_2_28_aarch64.whl": (
        "ca021f9eb2f8345c83fa03e3a04587308afb8df71bd472670b3ece00df58621c"
    ),
    "torch-2.13.0+cpu-cp314-cp314-manylinux_2_28_x86_64.whl": (
        "d20fa53ee744502fa4c69818a720b05ca0d37abd055d4f6e66cae155114bc691"
    ),
}


def blocks(text: str) -> dict[str, str]:
    """The lines of each package in a list of requirements with hashes."""
    found = re.findall(r"^(([a-z0-9-]+)==(?:.*\\\n)+.*\n)", text, re.MULTILINE)
    return {name: block for block, name in found}


def resolve(extras: tuple[str, ...]) -> dict[str, str]:
    """What the package with some extras is made of, on any platform, at the versions of the constraints."""
    command = ["uv", "pip", "compile", "pyproject.toml", "--constraint", "constraints.txt", "--generate-hashes"]
    command += ["--universal", "--python-version", PYTHON, "--no-config", "--no-header", "--no-annotate", "--quiet"]
    command += [f"--extra={extra}" for extra in extras]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise SystemExit(done.stderr)
    return blocks(done.stdout)


def cpu_build(version: str) -> str:
    """The lines of PyTorch's CPU build."""
    other = [name for name in CPU_BUILDS if not name.startswith(f"torch-{version}-")]
    if other:
        raise SystemExit(f"CPU_BUILDS: expected wheels of {version}, got {other[0]}")
    return (
        " \\\n    ".join([f"torch=={version}", *(f"--hash=sha256:{digest}" for digest in CPU_BUILDS.values())]) + "\n"
    )


def main() -> None:
    train, dev = resolve(TRAIN), resolve(("dev",))
    torch = {"torch": train["torch"]}
    cpu = {"torch": cpu_build(torch["torch"].removeprefix("torch==").split()[0] + "+cpu")}
    cuda = {name: block for name, block in train.items() if CUDA.match(name)}
    train = {name: block for name, block in train.items() if name not in cuda and name != "torch"}
    dev = {name: block for name, block in dev.items() if name not in train | cuda | torch}
    LOCKED.mkdir(exist_ok=True)
    lists = {"torch-cpu": cpu, "torch": torch, "cuda": cuda, "train": train, "dev": dev}
    for name, packages in lists.items():
        head = "# Written by tools/lock.py (make lock) from constraints.txt.\n"
        (LOCKED / f"{name}.txt").write_text(head + "".join(block for _, block in sorted(packages.items())))
        print(f"{name}.txt: {len(packages)} packages")


if __name__ == "__main__":
    main()
