"""Which candidates a jury chooses among, and which it must not choose, whatever it is compared with. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from pipeline.records import Candidate, Judgment
from stages.judges.evidence import outcomes
from stages.judges.scores import candidate_scores
from stages.pairs.gate import FINISHED, Refusal
from stages.pairs.select import same_texts


def usable(candidates: Sequence[Candidate], count: Callable[[str], None]) -> list[Candidate]:
    """Those that could be an arm of a pair; the others are counted."""
    kept = []
    for candidate in candidates:
        if candidate.policy_relation == "canary":
            count("dropped:canary")
        elif not candidate.text.strip():
            count("dropped:empty")
        elif candidate.finish_reason not in FINISHED:
            count("dropped:truncated")
        else:
            kept.append(candidate)
    return kept


def distinct(candidates: Sequence[Candidate], judgments: Sequence[Judgment]) -> list[Candidate]:
    """One candidate of each text: the one that was compared most often, as `compare` asks about one of them alone."""
    groups = list(same_texts(candidates))
    if len(groups) == len(candidates):
        return list(candidates)
    met = Counter(c for judgment in judgments if len(judgment.cand_ids) == 2 for c in judgment.cand_ids)
    return [min(group, key=lambda c: (-met[c.candidate_id], c.candidate_id)) for group in groups]


def unworthy(judgments: Sequence[Judgment], least: float | None) -> dict[str, Refusal]:
    """Candidate id -> why it must not be chosen: a check found it wrong, or its mean score on [0, 1] is below `least`.

    The better of two bad answers is no good answer. What nobody scored is not known to be bad.
    """
    found: dict[str, Refusal] = {
        c: ("chosen_wrong", "a check found the preferred answer wrong")
        for c, ok in outcomes(judgments).items()
        if not ok
    }
    if least is not None:
        for candidate, score in candidate_scores(judgments).items():
            if score.value is not None and score.value < least:
                told = f"the preferred answer has the score {score.value:.3f}, below {least}"
                found.setdefault(candidate, ("chosen_low", told))
    return found
