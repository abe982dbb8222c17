"""What tools find in a wrong attempt (mode ultra): equations that do not hold, and what its own program prints."""

from __future__ import annotations

import json
import re

import msgspec

from pipeline.stage import Context
from stages.judges.recompute import recompute
from stages.sandbox.sandbox import Outcome, run_python
from stages.search.fields import Tool

LONGEST = 2000  # characters of output that are told
_PROGRAM = re.compile(r"```(?:python|py)[^\S\n]*\n(.*?)```", re.DOTALL)
_OUTCOME = msgspec.msgpack.Decoder(Outcome)


async def tool_result(attempt: str, tools: tuple[Tool, ...], name: str, ctx: Context) -> str | None:
    """What `tools` say of an attempt; None where they find nothing to say. name: of the attempt, for the journal.

    Raises EngineError where a program is to be run and the system cannot wall it off.
    """
    said = [false_equations(attempt)] if "equations" in tools else []
    programs = _PROGRAM.findall(attempt) if "python" in tools else []
    if programs:
        outcome = await ctx.once(name, _OUTCOME, lambda: run_python(programs[-1]))
        ctx.count(f"program:{outcome.status}")
        said.append(printed(outcome))
    return "\n".join(filter(None, said)) or None


def false_equations(attempt: str) -> str | None:
    """Each equation and date that does not hold, without what would be right: that is for the policy to find."""
    false = [json.loads(c.args_json)["input"] for c in recompute(attempt) if c.observation.startswith("false")]
    return "\n".join(f"{claim} does not hold." for claim in dict.fromkeys(false)) or None


def printed(outcome: Outcome) -> str:
    """The output of a program, and why it ended before its end."""
    text = outcome.output.strip()[:LONGEST]
    lines = [f"Your program prints:\n{text}" if text else "Your program prints nothing."]
    if outcome.status != "ok":
        lines.append(f"It ended with {outcome.detail[:LONGEST] or outcome.status}.")
    return "\n".join(lines)
