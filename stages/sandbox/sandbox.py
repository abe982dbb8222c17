"""Runs Python that nobody vouches for: no network, no files but a scratch folder, limits on everything it can take.

What it guarantees on which system: docs/tools.md.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from msgspec import Struct

from pipeline.errors import EngineError
from stages.judges.workers import Program, shared_workers
from stages.sandbox.limits import DEFAULT, Limits

_ROOT = str(Path(__file__).resolve().parents[2])
_START = "import sys; sys.path.append(sys.argv[1]); from stages.sandbox.worker import main; main(sys.argv[1])"
# -I in parts: it would ignore the one variable that makes the order of a set the same in every run.
_SANDBOX = Program((sys.executable, "-s", "-S", "-P", "-Wignore", "-c", _START, _ROOT), (("PYTHONHASHSEED", "0"),))
_MAX_CODE = 100_000  # characters


class Outcome(Struct, frozen=True):
    """What came of a text. value: what the called function returned; None unless status is ok.

    status: ok; error (an exception, a crash); timeout; limit (memory, output, size). output: what was printed, cut at
    the limit. detail: why it is not ok. walls: what kept it in: network, files, processes, landlock, seccomp.
    """

    status: Literal["ok", "error", "timeout", "limit"]
    output: str = ""
    value: Any = None
    detail: str = ""
    walls: tuple[str, ...] = ()


async def run_python(
    code: str,
    limits: Limits = DEFAULT,
    function: str | None = None,
    arguments: Sequence[Any] = (),
    workers: int = 2,
) -> Outcome:
    """Runs `code` and then, if asked to, `function(*arguments)` of it; all arguments and values are JSON.

    Without a function, the value of a last line that is an expression is printed. workers: processes that share the
    work. Raises EngineError where the system can wall off neither network nor files.
    """
    if len(code) > _MAX_CODE:
        return Outcome("limit", detail=f"{len(code)} characters of code, {_MAX_CODE} are allowed")
    pool = shared_workers(workers, _SANDBOX)
    reply = await pool.ask(limits.wall_s, list(limits), code, function, list(arguments))
    if reply is None:
        return Outcome("error", detail="the sandbox process ended")
    if "refused" in reply:
        raise EngineError(
            f"this system cannot run Python in isolation: {reply['refused']}; "
            "allow user namespaces, or a kernel with Landlock and seccomp (5.13, x86_64 or aarch64)"
        )
    status, detail, value = reply["status"], reply.get("detail", ""), None
    if status == "ok":
        try:
            value = json.loads(reply["json"])
        except (ValueError, RecursionError):  # written by the text itself
            status, detail = "error", "its value is no JSON"
    return Outcome(status, reply["output"], value, detail, tuple(reply["walls"]))
