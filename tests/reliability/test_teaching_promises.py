"""What was taught and saved is there, whoever is killed."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

KILLS = int(os.environ.get("GRAPHEME_KILLS", "20"))


@pytest.mark.slow
@pytest.mark.skipif(find_spec("gradio") is None, reason="an extra")
def test_whoever_is_killed_loses_the_last_drawing_at_most(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "ignore", Path(__file__).with_name("killed_teachers.py"), tmp_path, str(KILLS)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    ran = subprocess.run(command, env=environment, check=False, capture_output=True, text=True)
    print(ran.stdout)
    assert ran.returncode == 0, ran.stderr[-2000:]
