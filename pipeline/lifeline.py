"""Ends a process when the one that started it is gone; loaded by vLLM in the process that runs the model.

vLLM's engine process waits for requests for ever; after a SIGKILL of its parent it would keep the model in memory and
the accelerator with it. Ray's workers end when they become children of process 1, which under Slurm and in many
containers they do not: orphans are given to another.
"""

from __future__ import annotations

import functools
import multiprocessing
import os
import threading
import time

LOOK_S = 1.0


class Lifeline:
    """Given as `worker_extension_cls`; vLLM adds it to the worker's class. What it does, its module does on import."""


def _end_with_parent() -> None:
    if (parent := multiprocessing.parent_process()) is not None:
        parent.join()
        os._exit(1)


@functools.cache
def end_with_starter() -> None:
    """From here on this process ends within a second of the one that started it, whoever adopts it then."""
    threading.Thread(target=_end_when_adopted, args=(os.getppid(),), name="lifeline", daemon=True).start()


def _end_when_adopted(starter: int) -> None:
    while os.getppid() == starter:
        time.sleep(LOOK_S)
    os._exit(1)


if multiprocessing.parent_process() is not None:
    threading.Thread(target=_end_with_parent, name="lifeline", daemon=True).start()
