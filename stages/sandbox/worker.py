"""The process that runs texts, one at a time, each in a child of its own that cannot leave its scratch folder.

Reads one JSON list per line, `[wall_s, limits, code, function, arguments]`, and answers with one JSON line. It runs
without site packages and environment, moves into namespaces before it says `"ready"`, and forks for each text: no
second Python has to start, and what a text does to its process is gone with it.
"""

from __future__ import annotations

import ast
import contextlib
import gc
import importlib
import json
import os
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback
from random import seed
from typing import Any

from stages.sandbox import rules
from stages.sandbox.limits import Limits
from stages.sandbox.namespaces import NOBODY, SCRATCH, Namespaces

# Imported before files are out of reach: without namespaces, `nobody` may not see the folder of root's own Python.
_PRELOADED = """array base64 bisect calendar cmath collections copy csv dataclasses datetime decimal enum fractions
functools hashlib heapq io itertools json math numbers operator pathlib queue random re secrets statistics string
textwrap time typing unicodedata uuid zlib""".split()
_CHUNK, _MAX_REPLY = 1 << 16, 1 << 20
# Descriptor on which a child answers: "+" when the walls stand, then "ok" and a value in JSON, or another status and why;
# "-" and why when they do not stand. Nothing but the status is read here: a text can write there what it likes.
_REPLY = 3


def main(root: str) -> None:
    """Serves until the input ends. root: the folder that was put on the path to import this file."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which closes the pipe when it is done
    folders = list(dict.fromkeys(os.path.realpath(p) for p in sys.path if p != root and os.path.isdir(p)))
    sys.path[:] = folders
    for name in _PRELOADED:
        importlib.import_module(name)
    null = os.open(os.devnull, os.O_RDWR)
    namespaces = Namespaces()
    namespaces.enter([f for f in folders if not any(f.startswith(f"{other}/") for other in folders)])
    os.environ.clear()
    gc.freeze()
    server = _Server(namespaces, folders, null)
    os.write(1, b'"ready"\n')
    with os.fdopen(0, "rb", closefd=False) as lines:
        for line in lines:
            _, limits, *job = json.loads(line)
            _write(1, json.dumps(server.answer(Limits(*limits), job)).encode() + b"\n")


class _Server:
    """Forks a child for each job and watches it from outside."""

    def __init__(self, namespaces: Namespaces, folders: list[str], null: int) -> None:
        self._namespaces = namespaces
        self._null = null
        self._sealed = "files" in namespaces.walls
        self._readable = ["/"] if self._sealed else _without_packages(folders)
        self.walls = (*namespaces.walls, *rules.available())

    def answer(self, limits: Limits, job: list[Any]) -> dict[str, Any]:
        """What came of it: status, output, value (JSON) or detail, and the walls that stood; or why it was not run."""
        if "seccomp" not in self.walls and "network" not in self.walls:
            return {"refused": "it has neither network namespaces nor seccomp"}
        if "landlock" not in self.walls and not self._sealed:
            return {"refused": "it has neither mount namespaces nor Landlock"}
        scratch = SCRATCH if self._sealed else _folder()
        (out, child_out), (reply, child_reply) = os.pipe(), os.pipe()
        child = self._namespaces.fork()
        if not child:
            self._in_child(limits, job, scratch, (child_out, child_reply))
        os.close(child_out)
        os.close(child_reply)
        streams = {out: bytearray(), reply: bytearray()}
        try:
            exceeded = _watch(child, streams, {out: limits.output_bytes, reply: _MAX_REPLY}, limits.wall_s)
            os.kill(child, signal.SIGKILL)
            _, ended, usage = os.wait4(child, 0)
        finally:
            os.close(out)
            os.close(reply)
            if not self._sealed:
                shutil.rmtree(scratch, ignore_errors=True)
        if exceeded is None and os.WIFSIGNALED(ended):
            exceeded = _death(os.WTERMSIG(ended), usage.ru_utime + usage.ru_stime > limits.cpu_s / 2)
        printed = bytes(streams[out][: limits.output_bytes]).decode("utf-8", "replace")
        return {**_read(bytes(streams[reply]), exceeded), "output": printed, "walls": self.walls}

    def _in_child(self, limits: Limits, job: list[Any], scratch: str, pipes: tuple[int, int]) -> None:
        """Never returns."""
        try:
            for source, target in ((self._null, 0), (pipes[0], 1), (pipes[0], 2), (pipes[1], _REPLY)):
                os.dup2(source, target)
            os.closerange(_REPLY + 1, 256)
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            if self._sealed:
                self._namespaces.scratch(limits.scratch_mb)
            os.chdir(scratch)
            tempfile.tempdir = scratch
            rules.sign_away(self._readable, scratch, limits)
        except BaseException as error:
            os.write(_REPLY, f"-{error}".encode())
            os._exit(1)
        try:
            os.write(_REPLY, b"+")
            sys.stdout = sys.stderr = os.fdopen(1, "w", 1, "utf-8", "backslashreplace", closefd=False)
            reply = _run(*job)
            with contextlib.suppress(BaseException):
                sys.stdout.flush()
            _write(_REPLY, reply.encode("utf-8", "replace"))
        finally:
            os._exit(0)


def _run(code: str, function: str | None, arguments: list[Any]) -> str:
    """Runs `code`, prints the value of a last expression as a console does, then calls `function`. The reply."""
    seed(0)
    names: dict[str, Any] = {"__name__": "__main__"}
    try:
        tree = ast.parse(code, "<code>")
        last = [tree.body.pop()] if not function and tree.body and isinstance(tree.body[-1], ast.Expr) else []
        exec(compile(tree, "<code>", "exec"), names)  # noqa: S102
        exec(compile(ast.Interactive(last), "<code>", "single"), names)  # noqa: S102
        value = names[function](*arguments) if function else None
        return f"ok {json.dumps(value, allow_nan=False)}"
    except MemoryError:
        return "limit memory"
    except BaseException as error:
        if isinstance(error, SystemExit) and error.code in (None, 0) and not function:
            return "ok null"
        return f"error {_told(error)}"


def _told(error: BaseException) -> str:
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == "<code>"]
    where = f"line {lines[-1]}: " if lines else ""
    return (where + traceback.format_exception_only(error)[-1].strip())[:500]


def _watch(child: int, streams: dict[int, bytearray], most: dict[int, int], wall_s: float) -> dict[str, str] | None:
    """Reads what a child writes until it ends. What it exceeded, if anything; ends this process when its parent does."""
    poller, deadline = select.poll(), time.monotonic() + wall_s
    alive = os.pidfd_open(child)
    waiting = {alive, *streams}
    for descriptor in waiting:
        poller.register(descriptor, select.POLLIN)
    poller.register(0, 0)  # its other end closes when the parent has ended
    try:
        while waiting:
            left = deadline - time.monotonic()
            if left <= 0:
                return {"status": "timeout", "detail": f"{wall_s:g} s passed"}
            for descriptor, _ in poller.poll(left * 1000):
                if descriptor == 0:
                    raise SystemExit  # the child is told to die with us
                chunk = b"" if descriptor == alive else os.read(descriptor, _CHUNK)
                if not chunk:
                    poller.unregister(descriptor)
                    waiting.discard(descriptor)
                elif len(streams[descriptor]) + len(chunk) > most[descriptor]:
                    streams[descriptor] += chunk
                    return {"status": "limit", "detail": f"it wrote more than {most[descriptor]} bytes"}
                else:
                    streams[descriptor] += chunk
        return None
    finally:
        os.close(alive)


def _death(number: int, out_of_time: bool) -> dict[str, str]:
    """out_of_time: it used most of its time. The limit counts in ticks, which may be ahead of the time that was used."""
    if number == signal.SIGKILL:
        found = ("timeout", "processor time") if out_of_time else ("limit", "memory: it was killed")
        return {"status": found[0], "detail": found[1]}
    return {"status": "error", "detail": f"it ended by {signal.Signals(number).name}"}


def _read(reply: bytes, exceeded: dict[str, str] | None) -> dict[str, Any]:
    """What the child says, unless it exceeded a limit: then that is all there is."""
    if not reply.startswith(b"+"):
        return exceeded or {"refused": reply[1:].decode("utf-8", "replace") or "its process ended before it began"}
    if exceeded is not None:
        return exceeded
    status, _, rest = reply[1:].decode("utf-8", "replace").partition(" ")
    if status not in ("ok", "error", "limit"):
        return {"status": "error", "detail": "it ended without a result"}
    return {"status": status, "json": rest} if status == "ok" else {"status": status, "detail": rest[:500]}


def _write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def _folder() -> str:
    folder = tempfile.mkdtemp(prefix="prefsynth-")
    if os.getuid() == 0:
        os.chown(folder, NOBODY, NOBODY)
    return folder


def _without_packages(folders: list[str]) -> list[str]:
    """The entries of the standard library's folders, site packages left out."""
    return [e.path for folder in folders for e in os.scandir(folder) if not e.name.endswith("-packages")]
