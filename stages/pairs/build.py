"""A response-level pair from two candidates of one prompt, and what the judges' scores say of its strength. Pure."""

from __future__ import annotations

import importlib.metadata
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from pipeline import ids
from pipeline.pair import Context, Generation, Lineage, Pair, Score, Votes
from pipeline.records import Candidate, Message, Prompt
from stages.judges.labels import label_columns
from stages.judges.scores import AspectScore, CandidateScore
from stages.pairs.select import mean_std

TIE = 1e-9  # normalized scores nearer than this are a tie of that judge
TOOL_LABEL = 0.98  # probability of the label where a deterministic check decides (spec judges C4)


def _version() -> str:
    try:
        return importlib.metadata.version("prefsynth")
    except importlib.metadata.PackageNotFoundError:
        return "source"


CODE_VERSION = _version()  # of the installed program, for `Pair.lineage`


class Run(Protocol):
    """The part of a stage's context that a lineage tells."""

    run: str
    run_seed: int
    fingerprint: str


def pair_ids(kind: str, prompt: Prompt, chosen: Candidate, rejected: Candidate) -> tuple[str, str]:
    """(pair_id, unordered_id) of two answers to one prompt."""
    arms = ids.arm(prompt.prompt_id, None, chosen.text), ids.arm(prompt.prompt_id, None, rejected.text)
    return ids.pair_id(kind, prompt.context_id, *arms), ids.unordered_id(prompt.context_id, *arms)


def response_pair(kind: str, prompt: Prompt, chosen: Candidate, rejected: Candidate, **label: Any) -> Pair:
    """The pair (chosen ≻ rejected) with ids, texts, provenance; `label`: further columns, among them `label_source`."""
    pair_id, unordered_id = pair_ids(kind, prompt, chosen, rejected)
    return Pair(
        prompt_id=prompt.prompt_id,
        pair_id=pair_id,
        unordered_id=unordered_id,
        base_prompt_id=prompt.base_prompt_id,
        context_id=prompt.context_id,
        kind=kind,
        level="response",
        split=prompt.split,
        prompt_messages=prompt.messages,
        chosen_messages=(Message("assistant", chosen.text),),
        rejected_messages=(Message("assistant", rejected.text),),
        context=given_context(prompt) if prompt.context_id else None,
        chosen_gen=_generation(chosen),
        rejected_gen=_generation(rejected),
        source=prompt.source,
        **label,
    )


def lineage(stage: str, version: int, ctx: Run, parents: Iterable[str]) -> Lineage:
    """Which code and config made a pair out of what."""
    return Lineage(ctx.run, stage, str(version), CODE_VERSION, ctx.fingerprint, ctx.run_seed, tuple(parents))


def given_context(prompt: Prompt) -> Context | None:
    """The context a source put into the prompt's system message and kept beside it in `ext_json`."""
    kept = msgspec.json.decode(prompt.ext_json) if prompt.ext_json else {}
    text = kept.get("context") if isinstance(kept, dict) else None
    return Context("given", text, "system") if isinstance(text, str) else None


def _generation(c: Candidate) -> Generation:
    return Generation(
        c.candidate_id, c.model, c.model_revision, c.engine, c.temperature, c.top_p, c.seed, c.max_tokens,
        c.finish_reason, c.n_tokens, c.policy_relation, c.gen_context_id, c.mean_logp,
    )  # fmt: skip


def score_rows(chosen: Sequence[AspectScore], rejected: Sequence[AspectScore]) -> tuple[Score, ...]:
    """The judges' scores of both arms as rows of the pair."""
    return tuple([
        Score(arm, s.judge, s.aspect, s.raw, s.normalized, s.scale_min, s.scale_max, s.n, s.std)
        for arm, scores in (("chosen", chosen), ("rejected", rejected)) for s in scores
    ])  # fmt: skip


def score_columns(scores: tuple[float, float] | None) -> dict[str, Any]:
    """The scores of both arms, which say how good each is, not only which is the better one: KTO, UltraFeedback and NeMo
    take them so. Nothing where they are not known or do not speak for the label; a gap is above 0 (spec pairs I6)."""
    if scores is None or scores[0] <= scores[1]:
        return {}
    return {"chosen_score": scores[0], "rejected_score": scores[1], "score_gap": scores[0] - scores[1]}


def dominance(chosen: CandidateScore, rejected: CandidateScore) -> str:
    """`scalar` for one score per arm; `strict_pareto` when no common aspect of a judge is worse and one is better."""
    if max(len(chosen.scores), len(rejected.scores)) <= 1:
        return "scalar"
    theirs = {(s.job, s.judge, s.aspect): s.normalized for s in rejected.scores}
    gaps = [s.normalized - theirs.get((s.job, s.judge, s.aspect), math.inf) for s in chosen.scores]
    pareto = len(gaps) == len(theirs) and min(gaps) >= -TIE and max(gaps) > TIE
    return "strict_pareto" if pareto else "weighted"


def judge_columns(
    chosen: Mapping[str, float], rejected: Mapping[str, float], spreads: Mapping[str, float]
) -> dict[str, Any]:
    """strength, votes and agreement from the mean normalized score of each judge; only what is defined.

    strength: mean over judges of gap / population deviation of that judge in the pool (spec pairs 17.1). Votes,
    agreement and pref_prob = (c + t/2 + ½) / (n + 1) need two judges.
    """
    gaps = {judge: chosen[judge] - rejected[judge] for judge in chosen if judge in rejected}
    if not gaps:
        return {}
    columns: dict[str, Any] = {"n_judges": len(gaps)}
    standard = [gap / spreads[judge] for judge, gap in gaps.items() if spreads.get(judge, 0.0) > TIE]
    if standard:
        columns["strength"], spread = mean_std(standard)
        if len(standard) > 1:
            columns["strength_std"] = spread
            columns["ambiguous"] = spread > 2 * abs(columns["strength"])  # spec judges C4
    if len(gaps) > 1:
        won, lost = sum(g > TIE for g in gaps.values()), sum(g < -TIE for g in gaps.values())
        tied, n = len(gaps) - won - lost, len(gaps)
        absent = len({*chosen, *rejected}) - n
        columns |= {"votes": Votes(won, lost, tied, absent), "agreement": won / n}
        columns["pref_prob"] = (won + tied / 2 + 0.5) / (n + 1)
        columns |= label_columns(columns["pref_prob"])
    return columns


def spreads(judges: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Population deviation of each judge's scores over a pool."""
    names = dict.fromkeys(name for by_judge in judges for name in by_judge)
    return {name: mean_std([j[name] for j in judges if name in j])[1] for name in names}
