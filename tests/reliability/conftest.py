"""Promises are tried where the kernel and the C library can be asked what a call takes: on Linux."""

import sys

collect_ignore_glob = [] if sys.platform == "linux" else ["test_*.py"]
