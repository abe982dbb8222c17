"""Which candidate keeps which yes/no criterion, and which may be chosen over which (AutoIF, UltraIF; spec pairs 14.4, 14.5).
Pure.

UltraIF counts an empty set of verdicts as "all kept" and a missing question as yes, and lets the last response of a prompt
win. Here every candidate must have an answer to exactly the questions that the prompt has, every answer must be certain,
and the choice among several is by hash.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from pipeline.records import Judgment
from stages.pairs.draw_instructions import strictly_better

Rule = Literal["all_kept", "dominance"]
Asked = tuple[str, str, str]  # job, judge, criterion


class Matrix(NamedTuple):
    """criteria: every question of the prompt, in order. kept: candidate id -> an answer to each; None: not certain."""

    criteria: tuple[Asked, ...]
    kept: Mapping[str, tuple[bool | None, ...]]
    rows: Mapping[Asked, Judgment]  # one judgment of each, for what it says of the question


def criteria_matrix(judgments: Sequence[Judgment], jobs: Sequence[str], certain: float) -> Matrix:
    """The matrix of judgments of mode `criterion`, of the named jobs or of all.

    certain: P(yes) from which an answer is yes, and below 1 - certain no. Several answers to one question must agree; a
    call that failed is none, so the attempt that mended it stands alone. A criterion of negative weight is kept where the
    answer is no.
    """
    answers: dict[str, dict[Asked, set[bool | None]]] = {}
    rows: dict[Asked, Judgment] = {}
    for j in judgments:
        if j.mode != "criterion" or len(j.cand_ids) != 1 or (jobs and j.job not in jobs):
            continue
        asked = (j.job, j.judge_id, j.aspect or "")
        rows.setdefault(asked, j)
        said = answers.setdefault(j.cand_ids[0], {}).setdefault(asked, set())
        if j.status == "ok":
            said.add(_answer(j, certain))
    criteria = tuple(sorted(rows))
    return Matrix(
        criteria,
        {who: tuple([_one(of.get(asked, set())) for asked in criteria]) for who, of in answers.items()},
        rows,
    )


def _answer(j: Judgment, certain: float) -> bool | None:
    if j.value is None or not 0 <= j.value <= 1:
        return None
    yes = True if j.value >= certain else False if j.value <= 1 - certain else None
    return yes if yes is None or (j.weight or 1.0) > 0 else not yes


def _one(said: set[bool | None]) -> bool | None:
    return next(iter(said)) if len(said) == 1 else None


def preferred(matrix: Matrix, rule: Rule) -> list[tuple[str, str]]:
    """(chosen, rejected) candidate ids: who keeps all over who breaks one, or strict dominance; in order of the ids."""
    return [
        (one, other)
        for one in sorted(matrix.kept) for other in sorted(matrix.kept)
        if strictly_better(matrix.kept[one], matrix.kept[other]) and (rule == "dominance" or all(matrix.kept[one]))
    ]  # fmt: skip
