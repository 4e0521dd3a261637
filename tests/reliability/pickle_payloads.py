"""Files that run code when they are unpickled: each would make a file, a canary."""

import io
import os
import pickle
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch


class Harm:
    """Makes a canary when it is unpickled.

    Args:
        function: Is called with the arguments.
    """

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.called = function, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.called


def harms(canary: Path) -> list[Harm]:
    """Several ways to the same."""
    return [
        Harm(os.system, f"touch '{canary}'"),
        Harm(Path.touch, canary),
        Harm(eval, f"__import__('pathlib').Path({str(canary)!r}).touch()"),
        Harm(exec, f"open({str(canary)!r}, 'w').close()"),
    ]


def _zip(harm: Harm) -> bytes:
    """As torch.save writes it."""
    file = io.BytesIO()
    torch.save({"classifier.templates": torch.zeros(2), "harm": harm}, file)
    return file.getvalue()


def _old(harm: Harm) -> bytes:
    """As torch.save wrote it before 1.6."""
    file = io.BytesIO()
    torch.save({"harm": harm}, file, _use_new_zipfile_serialization=False)
    return file.getvalue()


PAYLOADS: tuple[Callable[[Harm], bytes], ...] = (
    lambda harm: pickle.dumps(harm, protocol=0),
    lambda harm: pickle.dumps({"state_dict": harm}, protocol=5),
    _zip,
    _old,
    lambda harm: zlib.compress(pickle.dumps(harm)),  # as joblib's with compress=True
)


def unpickle(content: bytes) -> None:
    """What must never be done to a file of someone else; shows that a payload would run."""
    if content[:2] == b"PK" or b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19" in content[:20]:
        torch.load(io.BytesIO(content), weights_only=False)
    else:
        pickle.loads(zlib.decompress(content) if content[:1] == b"x" else content)
