"""Signals that end training: noted when they are received, obeyed after the current step."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupts:
    """Notes SIGINT and SIGTERM. A second SIGINT interrupts at once.

    Attributes:
        came: The signal that was received, or None.
    """

    def __init__(self) -> None:
        self.came: signal.Signals | None = None

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Replaces the signal handlers within the context; does nothing outside the main thread, which alone may."""
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
    """Ignores signals in a loading process, which the training process ends."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
