"""Being asked to stop: Ctrl-C, SIGTERM and SIGHUP as a question that a long run asks between two steps (floor 0)."""

import contextlib
import os
import signal
import threading
from types import FrameType
from typing import Any

NAMES = ("SIGINT", "SIGTERM", "SIGHUP")
NOTE = "\nstopping after this step; once more stops at once\n"


class Stop:
    """While it is entered, the first signal makes calling it True, and the second raises KeyboardInterrupt.

    A signal that is ignored, as under nohup, stays so. Outside the main thread nothing is done, for Python takes
    signals there alone.

    >>> with Stop() as stop:
    ...     before = stop()
    ...     signal.raise_signal(signal.SIGTERM)
    ...     before, stop(), stop.status
    (False, True, 143)
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._before: dict[int, Any] = {}

    def __call__(self) -> bool:
        return self.signal is not None

    @property
    def status(self) -> int:
        """The exit status that says which signal it was; 0 where none came."""
        return 0 if self.signal is None else 128 + self.signal

    def __enter__(self) -> "Stop":
        if threading.current_thread() is threading.main_thread():
            for number in (getattr(signal, name) for name in NAMES if hasattr(signal, name)):
                if signal.getsignal(number) != signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._take)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _take(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None:
            raise KeyboardInterrupt
        self.signal = number
        with contextlib.suppress(OSError):  # nobody reads it
            os.write(2, NOTE.encode())  # not print, in the midst of which we may be
