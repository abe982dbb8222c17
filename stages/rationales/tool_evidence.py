"""What tools said of the responses, for authors to rely on (Themis; spec judges C1 `tool_evidence`). Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import get_args

from pipeline.pair import Pair
from pipeline.records import Judgment, ToolCall
from stages.tools.toolbox import ToolName

MAX_CALLS = 8  # of each response
TOOLS = frozenset(get_args(ToolName))  # not the checks of `verify`, which compare with the reference: that is the label
Traces = Mapping[str, Sequence[ToolCall]]


def traces(judgments: Sequence[Judgment]) -> dict[str, list[ToolCall]]:
    """Candidate id -> the calls of tools that worked, each once, of all judgments of one candidate."""
    found: dict[str, list[ToolCall]] = {}
    for judgment in judgments:
        if len(judgment.cand_ids) != 1:
            continue
        calls = found.setdefault(judgment.cand_ids[0], [])
        calls += [call for call in judgment.tool_trace or () if call.ok and call.tool in TOOLS and call not in calls]
    return found


def calls_about(pair: Pair, arms: Sequence[str], known: Traces) -> tuple[tuple[str, ToolCall], ...]:
    """(arm, call) for each call about an arm of the pair; none for arms without a candidate."""
    candidates = {"chosen": pair.chosen_gen, "rejected": pair.rejected_gen}
    ids = {arm: gen.candidate_id for arm in arms if (gen := candidates[arm]) is not None}
    return tuple([(arm, call) for arm, who in ids.items() for call in known.get(who, ())[:MAX_CALLS]])


def told(call: ToolCall, about: str) -> str:
    """A line for a prompt: `Response A: calculator 3 + 4 gave 7`."""
    return f"{about}: {call.tool} {call.args_json} gave {call.observation}"
