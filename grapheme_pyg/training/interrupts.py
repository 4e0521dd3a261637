"""Signals that end training: noted when they come, obeyed after the step that they come in."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupts:
    """Notes SIGINT and SIGTERM. A second SIGINT interrupts at once.

    Attributes:
        came: The signal that came, or None.
    """

    def __init__(self) -> None:
        self.came: signal.Signals | None = None

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Takes over from the handlers there are, and gives back to them; only the main thread can."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._note) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _note(self, number: int, _: FrameType | None) -> None:
        if self.came is signal.SIGINT and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.came = signal.Signals(number)


def ignore_in_worker(_: int) -> None:
    """Ignores signals in a process that loads data: the one that trains tells it when to end."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
