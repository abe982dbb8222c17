"""Loaded by vLLM in the process that runs the model: ends that process when the one that started it is gone.

vLLM's engine process waits for requests for ever; after a SIGKILL of its parent it would keep the model in memory and
the accelerator with it.
"""

from __future__ import annotations

import multiprocessing
import os
import threading


class Lifeline:
    """Given as `worker_extension_cls`; vLLM adds it to the worker's class. What it does, its module does on import."""


def _end_with_parent() -> None:
    if (parent := multiprocessing.parent_process()) is not None:
        parent.join()
        os._exit(1)


if multiprocessing.parent_process() is not None:
    threading.Thread(target=_end_with_parent, name="lifeline", daemon=True).start()
