"""Marks of tests that look at what only some systems have."""

import sys

import pytest

needs_posix = pytest.mark.skipif(sys.platform == "win32", reason="needs forks, pipes, links or odd names of files")
needs_linux = pytest.mark.skipif(
    sys.platform != "linux", reason="needs /proc, forks among threads or any bytes in names"
)
