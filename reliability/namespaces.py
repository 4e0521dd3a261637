"""Two network namespaces with a cable between them: as good as two machines, for programs that talk over a network."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from training_process import COMMAND, SCRIPT

PORT = 29400


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)


@contextmanager
def namespaces(number: int) -> Iterator[list[str]]:
    """Names of two network namespaces, joined by a pair of virtual devices of the same names.

    Within the first, the address is 10.77.<number>.1, within the second 10.77.<number>.2.

    Raises:
        OSError: There is no command ``ip``.
        subprocess.CalledProcessError: This machine does not allow it.
    """
    names = [f"g{os.getpid()}n{number}{end}" for end in "ab"]
    made = []
    try:
        for name in names:
            _run("ip", "netns", "add", name)
            made.append(name)
        _run("ip", "link", "add", names[0], "netns", names[0], "type", "veth", "peer", names[1], "netns", names[1])
        for i, name in enumerate(names):
            inside = ("ip", "-n", name)
            _run(*inside, "addr", "add", f"10.77.{number}.{i + 1}/24", "dev", name)
            for device in (name, "lo"):
                _run(*inside, "link", "set", device, "up")
        yield names
    finally:
        # Devices go with them.
        for name in made:
            _run("ip", "netns", "del", name)


@cache
def reason_against() -> str | None:
    """Why this machine has no network namespaces for us; None if it has."""
    try:
        with namespaces(255):
            return None
    except OSError as error:
        return str(error)
    except subprocess.CalledProcessError as error:
        return f"{' '.join(error.cmd)}: {error.stderr.strip()}"


def train_in_namespaces(run_dir: Path, number: int, *options: str) -> float:
    """Trains by the example's command on two machines, as a person would start it; seconds that it took."""
    with namespaces(number % 255) as names:
        address, started = f"10.77.{number % 255}.1", time.monotonic()
        processes = []
        for rank, name in enumerate(names):
            torchrun = (sys.executable, "-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1")
            place = (f"--node-rank={rank}", f"--master-addr={address}", f"--master-port={PORT}")
            command = ("ip", "netns", "exec", name, *torchrun, *place, str(SCRIPT), *COMMAND)
            # Gloo looks for the address of the machine's name, which is not on this cable.
            environment = os.environ | {"GLOO_SOCKET_IFNAME": name, "OMP_NUM_THREADS": "1"}
            processes.append(
                subprocess.Popen(
                    (*command, "--run-dir", str(run_dir), *options),
                    env=environment,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                )
            )
        try:
            said = [process.communicate(timeout=300)[0] for process in processes]
        finally:
            for process in processes:
                process.kill()
        for process, text in zip(processes, said, strict=True):
            assert process.returncode == 0, text[-2000:]
        return time.monotonic() - started
