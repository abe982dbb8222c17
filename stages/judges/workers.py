"""Processes for checks that may hang: each check has a time limit, and what exceeds it is killed and replaced.

Not concurrent.futures: its pool breaks when a worker dies and cannot stop one that hangs. Plain pipes and one thread
per worker, so that it serves any event loop, forks nothing and leaves no process behind.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import functools
import json
import select
import shlex
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.errors import EngineError


class Program(NamedTuple):
    """What a worker runs: the command, and its environment (None: this process's own)."""

    command: tuple[str, ...]
    environment: tuple[tuple[str, str], ...] | None = None


# -P: the script's folder is no place to import from, its files would hide modules of other packages.
MATH = Program((sys.executable, "-P", str(Path(__file__).with_name("math_worker.py"))))
_STARTUP_S = 120.0  # imports on a loaded machine
# Signals of schedulers, terminals and machines short of memory; a check that exceeds its limit ends by SIGPROF.
_FROM_OUTSIDE = {-signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT, -signal.SIGHUP}
_PATIENCE = 20.0  # wall seconds per second of the limit: the worker's own alarm counts processor time


class Worker:
    """One child process. `ask` starts it when there is none."""

    def __init__(self, program: Program = MATH) -> None:
        self._program = program
        self.process: subprocess.Popen[bytes] | None = None

    def ask(self, limit_s: float, *question: Any) -> dict[str, Any] | None:
        """The reply to a question, both JSON; None when it took far more than `limit_s` or its process down with it.

        A process that was killed from outside says nothing about the question: it is asked once more. Raises EngineError
        when no process can be started or math-verify is missing.
        """
        reply, ended = self._asked(limit_s, question)
        if reply is None and ended in _FROM_OUTSIDE:
            reply, _ = self._asked(limit_s, question)
        if reply is not None and reply.get("error") == "ModuleNotFoundError":
            raise EngineError("comparing LaTeX answers needs math-verify; install the extra `math` of prefsynth")
        return reply

    def _asked(self, limit_s: float, question: tuple[Any, ...]) -> tuple[dict[str, Any] | None, int | None]:
        """The reply or None, and how the process ended if it did before it was stopped."""
        patience = limit_s * _PATIENCE + (0.0 if self.process else _STARTUP_S)  # the first check imports
        process = self.process or self._start()
        try:
            assert process.stdin is not None
            process.stdin.write(json.dumps([limit_s, *question]).encode() + b"\n")
            process.stdin.flush()
            reply: dict[str, Any] | None = self._line(process, patience)
        except OSError:
            reply = None
        if reply is not None:
            return reply, None
        with contextlib.suppress(subprocess.TimeoutExpired):  # its pipe may be closed a moment before its end
            process.wait(0.2)
        ended = process.returncode
        self.stop()
        return None, ended

    def _start(self) -> subprocess.Popen[bytes]:
        command, environment = self._program
        self.process = process = subprocess.Popen(
            command, env=None if environment is None else dict(environment),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        if self._line(process, _STARTUP_S) != "ready":
            self.stop()
            raise EngineError(f"the checking process did not start; try `{shlex.join(command)}` to see why")
        return process

    @staticmethod
    def _line(process: subprocess.Popen[bytes], limit_s: float) -> Any:
        assert process.stdout is not None
        poll = select.poll()  # not select(): descriptors above 1023 are common in a worker with many engines
        poll.register(process.stdout, select.POLLIN)
        line = process.stdout.readline() if poll.poll(limit_s * 1000) else b""
        return json.loads(line) if line.endswith(b"\n") else None

    def stop(self) -> None:
        """Kills the process, if any, and waits for its end."""
        process, self.process = self.process, None
        if process is not None:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    with contextlib.suppress(OSError):  # what was written and never read
                        pipe.close()


class Workers:
    """A pool of `size` workers, started when first needed, ended with the interpreter."""

    def __init__(self, size: int, program: Program = MATH) -> None:
        self._program = program
        self._local = threading.local()
        self._all: list[Worker] = []
        self._threads = ThreadPoolExecutor(size, thread_name_prefix="check")

    async def ask(self, limit_s: float, *question: Any) -> dict[str, Any] | None:
        """As Worker.ask, off the event loop, by the next worker that is free."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._ask, limit_s, *question)

    def _ask(self, limit_s: float, *question: Any) -> dict[str, Any] | None:
        worker: Worker | None = getattr(self._local, "worker", None)
        if worker is None:
            worker = self._local.worker = Worker(self._program)
            self._all.append(worker)
        return worker.ask(limit_s, *question)

    def close(self) -> None:
        """Ends all processes; checks that wait are dropped."""
        self._threads.shutdown(wait=True, cancel_futures=True)
        for worker in self._all:
            worker.stop()


@functools.cache
def shared_workers(size: int, program: Program = MATH) -> Workers:
    """The one pool of that size and program in this process."""
    workers = Workers(size, program)
    atexit.register(workers.close)
    return workers
