"""What Ctrl-C and SIGTERM mean: outside of work they raise KeyboardInterrupt at once; during work they ask to drain."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
from collections.abc import Iterator

NUMBERS = (signal.SIGINT, signal.SIGTERM)


@contextlib.contextmanager
def raising() -> Iterator[None]:
    """Both signals raise KeyboardInterrupt, also while the event loop is held (an engine that loads its model)."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in NUMBERS}
    take_over()
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def take_over() -> None:
    """Sets the raising handlers anew, after a library has set its own (ray.init does)."""
    if threading.current_thread() is threading.main_thread():
        for number in NUMBERS:
            signal.signal(number, signal.default_int_handler)


@contextlib.contextmanager
def draining(stopping: asyncio.Event) -> Iterator[None]:
    """Both signals set `stopping`; afterwards they raise again."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    for number in NUMBERS:
        loop.add_signal_handler(number, stopping.set)
    try:
        yield
    finally:
        for number in NUMBERS:
            loop.remove_signal_handler(number)
        take_over()
