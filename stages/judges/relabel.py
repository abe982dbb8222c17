"""A recorded label against independent signals: what is kept, turned round, doubted or dropped (spec judges C4). Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np

from pipeline import ids
from pipeline.pair import Pair
from pipeline.records import Prompt
from stages.judges.evidence import column
from stages.judges.labels import TOOL_LABEL, Decision, decide, label_columns
from stages.judges.panel import Rules, deliberate
from stages.judges.preferences import Preferences
from stages.judges.swap import sigmoid
from stages.pairs.plain import plain_arms
from stages.pairs.select import same_text

_COUNTED: dict[Decision, str] = {"keep": "kept", "keep_soft": "kept", "flip": "flipped", "ambiguous": "ambiguous"}
FLIPPED_WEIGHT = 0.5  # a label that was turned round is worth half
ARMS = tuple(
    name for name in Pair.__struct_fields__ if f"rejected_{name.removeprefix('chosen_')}" in Pair.__struct_fields__
    and name.startswith("chosen_")
)  # fmt: skip
CHECKED = frozenset({"checker", "verifier"})  # label sources that opinions do not overrule (spec judges C4)
OF_THE_OLD_LABEL = (
    "selection", "difficulty", "dominance", "rationale", "rationale_kind", "rationale_model", "rationale_score",
    "margin_logit", "strength", "strength_std", "strength_bucket", "votes", "agreement", "n_orders_consistent",
    "position_consistent",
)  # fmt: skip


class Look(NamedTuple):
    """What became of a pair: `what` counts it (kept, flipped, ambiguous, passed); without a pair it is why it is gone."""

    what: str
    pair: Pair | None
    detail: str = ""


class Bar(NamedTuple):
    """What it takes: how a jury is made, judges of the second opinion, |p − ½| of a tie and of a flip."""

    rules: Rules
    second: tuple[str, ...]
    tie: float
    flip: float


def look_again(pair: Pair, prompt: Prompt, found: Preferences, texts: Mapping[str, str], bar: Bar) -> Look:
    """The pair with its label kept, doubted or turned round. texts: of the candidates that judges could judge."""
    arms = plain_arms(pair, prompt)
    if arms is None:
        return Look("passed", pair)
    if missing := [c for c in arms if c not in texts]:
        return Look("unusable", None, f"candidate {missing[0]} is empty or cut")
    if same_text(texts[arms[0]], texts[arms[1]]):
        return Look("identical_text", None, "both arms are the same text")
    i, j = (found.places[c] for c in arms)
    checked = float(found.p[i, j] > 0.5) if found.decided[i, j] else None
    if checked is None and pair.label_source in CHECKED:
        return Look("passed", pair)
    signals = opinions(found, i, j, bar)
    decision, p = verdict(checked, signals, bar)
    if decision == "flip" and checked is None and (makers := label_makers(pair)):
        independent = opinions(found, i, j, bar, makers)
        decision = "flip" if decide(independent, bar.tie, bar.flip) == "flip" else "ambiguous"
    if p is None:
        return Look("no_signal", None, "no judge has an opinion")
    if decision == "drop":
        return Look("one_signal", None, f"the only opinion gives the label {p:.3f}")
    if checked is None and found.component[i] == found.component[j]:
        decision = "ambiguous"
    better, worse = (j, i) if decision == "flip" else (i, j)
    label = found.columns(better, worse, bar.tie)
    if checked is not None or decision == "flip":
        label["label_source"] = "judge" if checked is None else "verifier"
    if checked is not None and decision == "flip":
        label["dominance"] = "checker"
    told = ", ".join("none" if q is None else f"{q:.3f}" for q in signals)
    new = relabelled(pair, decision, 1 - p if decision == "flip" else p, label)
    return Look(_COUNTED[decision], new, f"jury and second opinion of the label: {told}")


def label_makers(pair: Pair) -> frozenset[str]:
    """Judges whose opinion the label is: they cannot be what turns it round (spec judges C0.7)."""
    if pair.label_source not in ("judge", "rm", "votes"):
        return frozenset()
    return frozenset([*(signal.judge for signal in pair.signals), *(score.judge for score in pair.scores)])


def opinions(
    found: Preferences, i: int, j: int, bar: Bar, without: Collection[str] = ()
) -> list[float | None]:  # fmt: skip
    """P(i better) by the jury, and by the second opinion: reward models and the judges named for it.

    without: judges that are not heard, as `job:judge_id` or by their model.
    """
    judges = found.panel.judges
    heard = np.array([judge.name not in without and judge.judge_id not in without for judge in judges], dtype=bool)
    second = np.array([judge.kind == "rm" or judge.among(bar.second) for judge in judges], dtype=bool)
    at, sign = column(min(i, j), max(i, j), len(found.places)), 1.0 if i < j else -1.0
    odds = [sign * float(deliberate(found.panel, bar.rules, who & heard)[1][at]) for who in (~second, second)]
    return [None if o != o else float(sigmoid(o)) for o in odds]


def verdict(checked: float | None, signals: Sequence[float | None], bar: Bar) -> tuple[Decision, float | None]:
    """(decision, P(label is right)) of a recorded label.

    checked: 1 when a deterministic check is for the label, 0 against; it wins over all. signals: what independent
    sources think, None where they have no opinion; the probability is their mean.
    """
    if checked is not None:
        return ("keep", TOOL_LABEL) if checked else ("flip", 1 - TOOL_LABEL)
    known = [p for p in signals if p is not None]
    return decide(signals, bar.tie, bar.flip), sum(known) / len(known) if known else None


def relabelled(pair: Pair, decision: Decision, p: float, columns: Mapping[str, Any]) -> Pair:
    """The pair with the label columns that follow. p: P(the label it then has is right)."""
    label = {**columns, "pref_prob": p, **label_columns(p), "label_flipped": decision == "flip"}
    label["ambiguous"] = decision == "ambiguous" or label["same_scc"]
    if decision == "flip":
        label["weight"] *= FLIPPED_WEIGHT
        pair = turned(pair)
    return msgspec.structs.replace(pair, **label)


def turned(pair: Pair) -> Pair:
    """The pair with its arms exchanged: ids, texts, scores; what explained or measured the old label is gone.

    pair: one that asks its own prompt (`plain_arms`), of which `prompt_id` is the hash that its id is made with.
    """
    arms: dict[str, Any] = {name: getattr(pair, f"rejected_{name.removeprefix('chosen_')}") for name in ARMS}
    arms |= {f"rejected_{name.removeprefix('chosen_')}": getattr(pair, name) for name in ARMS}
    better, worse = (ids.arm(pair.prompt_id, pair.assistant_prefix, m[-1].content)
                     for m in (pair.rejected_messages, pair.chosen_messages))  # fmt: skip
    return msgspec.structs.replace(
        pair,
        **arms,
        **dict.fromkeys(OF_THE_OLD_LABEL),
        pair_id=ids.pair_id(pair.kind, pair.context_id, better, worse),
        score_gap=None if pair.score_gap is None else -pair.score_gap,
        rationale_chosen=pair.rationale_rejected,
        rationale_rejected=pair.rationale_chosen,
        scores=tuple([
            msgspec.structs.replace(s, arm="rejected" if s.arm == "chosen" else "chosen") for s in pair.scores
        ]),
        constraints=pair.constraints and tuple([
            msgspec.structs.replace(
                c, in_chosen_prompt=c.in_rejected_prompt, in_rejected_prompt=c.in_chosen_prompt,
                chosen_ok=c.rejected_ok, rejected_ok=c.chosen_ok,
            ) for c in pair.constraints
        ]),
        original_chosen_id=None if pair.chosen_gen is None else pair.chosen_gen.candidate_id,
    )  # fmt: skip
