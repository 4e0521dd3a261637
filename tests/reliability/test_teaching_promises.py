"""What was taught and saved is there, whoever is killed."""

from importlib.util import find_spec
from pathlib import Path

import pytest
from cases import kill_again_and_again


@pytest.mark.slow
@pytest.mark.skipif(find_spec("gradio") is None, reason="an extra")
def test_whoever_is_killed_loses_the_last_drawing_at_most(tmp_path: Path) -> None:
    kill_again_and_again("killed_teachers.py", tmp_path)
