"""Signals that end training: noted when they come, obeyed after the step that they come in."""

import signal
import threading
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(BaseException):
    """Training was told to stop, and has stopped."""


class Interrupts:
    """Notes SIGINT and SIGTERM. A second SIGINT interrupts at once.

    Attributes:
        came: The signal that came, or None.
    """

    def __init__(self) -> None:
        self.came: signal.Signals | None = None
        self._before: dict[signal.Signals, Any] = {}

    def install(self) -> None:
        """Takes over from the handlers there are; only the main thread can."""
        if threading.current_thread() is threading.main_thread() and not self._before:
            self._before = {number: signal.signal(number, self._note) for number in SIGNALS}

    def restore(self) -> None:
        """Gives the signals back to the handlers that there were."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.came is signal.SIGINT and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.came = signal.Signals(number)


def ignore_in_worker(_: int) -> None:
    """For processes that load data: the one that trains tells them when to end."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
