"""Which answers something is made of: right, best, given as gold, or any. Pure; independent of their order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pipeline.records import Candidate, Judgment
from stages.candidates.making import making_of
from stages.judges.scores import CandidateScore, candidate_scores
from stages.pairs.gate import FINISHED
from stages.pairs.select import normal_text, tie_key

Which = Literal["right", "best", "gold", "any"]
"""right: a check found it right; best: the highest score (right before wrong); gold: given by a person; any: by hash."""

_ANSWERS = (None, "diverse", "revise")  # ways whose answers are meant as answers to the prompt
_UNKNOWN = CandidateScore(None, None, (), 0, 0)


def parents(
    candidates: Sequence[Candidate], judgments: Sequence[Judgment], which: Which, n: int, seed: int
) -> list[Candidate]:
    """At most `n` finished answers of different text; none where there is none of the sort."""
    scores = candidate_scores(judgments)
    found: dict[str, tuple[tuple[float, bytes], Candidate]] = {}
    for candidate in candidates:
        if not _is_answer(candidate) or not _fits(candidate, scores.get(candidate.candidate_id, _UNKNOWN), which):
            continue
        by = _order(candidate, scores.get(candidate.candidate_id, _UNKNOWN), which, seed)
        text = normal_text(candidate.text)
        if text not in found or by < found[text][0]:
            found[text] = (by, candidate)
    return [candidate for _, candidate in sorted(found.values(), key=lambda item: item[0])][:n]


def _is_answer(candidate: Candidate) -> bool:
    made = making_of(candidate)
    return (
        candidate.policy_relation not in ("canary", "corrupted")
        and (made.way if made else None) in _ANSWERS
        and candidate.finish_reason in FINISHED
        and bool(candidate.text.strip())
    )


def _fits(candidate: Candidate, score: CandidateScore, which: Which) -> bool:
    match which:
        case "right":
            return score.outcome is True
        case "best":
            return score.value is not None or score.outcome is not None
        case "gold":
            return candidate.policy_relation in ("gold", "human")
    return True


def _order(candidate: Candidate, score: CandidateScore, which: Which, seed: int) -> tuple[float, bytes]:
    worth = 0.0 if which == "any" else (score.value or 0.0) + (score.outcome is True) - (score.outcome is False)
    return -round(worth, 12), tie_key(seed, candidate.prompt_id, candidate.candidate_id)
