"""Every way prefsynth fails, on one page. The class decides what happens next; the message says what to do."""

from __future__ import annotations


class PrefsynthError(Exception):
    """Root of all errors the program raises on purpose. `exit_code` is what the command line returns."""

    exit_code = 1


class PlanError(PrefsynthError):
    """The config, a template, a path or an old run contradicts what was asked. Nothing was spent. Exit code 2."""

    exit_code = 2


class Rejected(PrefsynthError):
    """A row cannot be processed. It becomes a row of `rejects` with this reason; the run goes on.

    reason: a short code that is counted (`context_overflow`); detail: the sentence a reader needs.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason, detail)  # both in `args`, so the error survives the trip between processes
        self.reason = reason
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}" if self.detail else self.reason


class EngineError(PrefsynthError):
    """An engine failed to answer. The shard in flight is retried whole, on a living replica. Exit code 3 when retries end."""

    exit_code = 3


class EngineDied(EngineError):
    """The engine is gone and must be opened again before it answers anything."""


class RunError(PrefsynthError):
    """The run cannot go on (too many rejects, disk full, a shard that keeps failing). What is finished stays valid."""

    exit_code = 3


class AuditFailed(PrefsynthError):
    """A bound of `audit --fail-on` is crossed. Exit code 4."""

    exit_code = 4


class Interrupted(PrefsynthError):
    """Ctrl-C or SIGTERM: drained, committed, resumable. Exit code 5."""

    exit_code = 5
