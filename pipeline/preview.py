"""A few prompts through every job, in a folder that is thrown away: each prompt sent and each record made is printed."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from typing import Any

from pipeline.drawing import printable
from pipeline.engine import Completion, EngineConfig, Request
from pipeline.live import LiveEngine
from pipeline.plan import make_plan
from pipeline.run import execute
from pipeline.show import tell


def sample_config(data: dict[str, Any], n: int, folder: str) -> dict[str, Any]:
    """The config, cut to its first n rows, run here and now into `folder`."""
    first, *rest = data["jobs"]
    cut = {**first, "limit": n}
    return {
        **data,
        "jobs": [cut, *rest],
        "executor": "local",
        "runs_dir": folder,
        "shard_size": n,
        "max_reject_rate": 1.0,
    }


class EchoEngine(LiveEngine):
    """Prints what is asked and what is answered."""

    def __init__(self, alias: str, config: EngineConfig) -> None:
        super().__init__(config)
        self.alias = alias
        self._heads: set[str] = set()

    async def generate(self, requests: Sequence[Request]) -> list[list[Completion]]:
        """See Engine."""
        answers = await super().generate(requests)
        for request, completions in zip(requests, answers, strict=True):
            lines = [f"\n-- to {self.alias}, n={request.sampling.n}, temperature={request.sampling.temperature:g}"]
            lines += [f"{m.role}> {m.content}" for m in request.messages or ()]
            lines += [f"assistant> {request.assistant_prefix}…"] if request.assistant_prefix else []
            lines += [f"  answer {i + 1} ({c.finish_reason})> {c.text}" for i, c in enumerate(completions)]
            print(printable("\n".join(lines)))
        return answers


def preview(data: dict[str, Any], n: int) -> None:
    """Runs the first `n` rows and prints everything. Raises PlanError for a config that does not hold."""
    make_plan(data)
    with tempfile.TemporaryDirectory(prefix="prefsynth-preview-") as folder:
        driver = execute(sample_config(data, n, folder), plain=True, make_engine=EchoEngine)
        for job in driver.plan.jobs.values():
            tell(driver.plan, driver.store, job, 0)
        sys.stdout.flush()
