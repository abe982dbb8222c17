"""Pairs by what judges or people said of single aspects (spec pairs 12). Pure."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from pipeline.errors import Rejected
from pipeline.pair import Attribute, FilterResult, Votes
from pipeline.pair import Context as Held
from pipeline.records import Candidate, Prompt
from stages.contexts.conditions import Placement, Sided
from stages.judges.features import FEATURES
from stages.judges.rubrics import kept_column
from stages.judges.scores import CandidateScore
from stages.pairs.aspect_dominance import prefer
from stages.pairs.context_kinds import Draft
from stages.pairs.gate import EPSILON


class Mix(BaseModel):
    """What counts how much: aspect -> weight. hard: aspects on which the better answer may not be worse; `pareto`: on none.

    text: how the prompt says the mix (SimulPL: the prompt lists the aspects). Without it the pair holds in general.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    weights: dict[str, float] = Field(min_length=1)
    dominance: Literal["pareto", "weighted"] = "pareto"
    hard: tuple[str, ...] = ()
    text: str | None = None

    @model_validator(mode="after")
    def _holds(self) -> Mix:
        if any(weight <= 0 for weight in self.weights.values()):
            raise ValueError(f"mix {self.name}: weights must be above 0; leave an aspect out to ignore it")
        if unknown := set(self.hard) - self.weights.keys():
            raise ValueError(f"mix {self.name}: hard names {', '.join(sorted(unknown))}, which have no weight")
        return self

    @property
    def strict(self) -> frozenset[str]:
        """Aspects on which nothing may be lost."""
        return frozenset(self.weights if self.dominance == "pareto" else self.hard)

    def context(self, placement: Placement) -> Held | None:
        """The condition of its pairs."""
        if self.text is None:
            return None
        held = [Attribute(a, "", w, "hard" if a in self.strict else "soft") for a, w in self.weights.items()]
        return Held("aspects", self.text, placement, None, tuple(held))


class ParaphraseColumns(BaseModel):
    """Kept columns of AdParaphrase: how many of 5 judges call the two texts paraphrases, and how many of 10 prefer which."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    paraphrase: str = "count.paraphrase"
    first: str = "count.preference_ad1"
    second: str = "count.preference_ad2"
    skip: str = "count.preference_skip"


Found = Draft | Rejected


def by_mix(
    candidates: Sequence[Candidate], scores: dict[str, CandidateScore], mix: Mix, placement: Placement, tau: float
) -> list[Found]:
    """Every two answers by the aspects of a mix, widest gap first, then what is refused."""
    rated = {who: aspect_means(score) for who, score in scores.items()}
    drafts, refused = list[Draft](), list[Rejected]()
    for one, other in _couples(candidates):
        try:
            ratings = [rated.get(c.candidate_id, {}) for c in (one, other)]
            found = prefer(ratings[0], ratings[1], mix.weights, mix.strict, tau)
        except Rejected as why:
            refused.append(why)
            continue
        chosen, rejected = (one, other) if found.first else (other, one)
        drafts.append(
            Draft(
                _plain(chosen), _plain(rejected), mix.context(placement), mix.name, "judge", found.filters(tau),
                found.scores, dominance=found.dominance,
            )
        )  # fmt: skip
    drafts.sort(key=lambda d: (-round(_gap(d), 12), d.chosen.candidate.candidate_id, d.rejected.candidate.candidate_id))
    return [*drafts, *refused]


def aspect_means(score: CandidateScore) -> dict[str, float]:
    """Mean rating of each aspect over judges, on [0, 1]."""
    found: dict[str, list[float]] = {}
    for one in score.scores:
        found.setdefault(one.aspect or "", []).append(one.normalized)
    return {aspect: sum(values) / len(values) for aspect, values in found.items()}


def by_paraphrase(
    prompt: Prompt, given: Sequence[Candidate], columns: ParaphraseColumns, least: tuple[int, int]
) -> tuple[Draft, dict[str, Any]]:
    """The text that more people prefer of two that say the same; and the columns of the votes.

    least: paraphrase judgments, and the margin of votes. Raises Rejected: other_number, missing_<column>, bad_count,
    no_paraphrase, tie.
    """
    if len(given) != 2:
        raise Rejected("other_number", f"{len(given)} texts were given, people chose between 2")
    arms = sorted(given, key=lambda c: c.sample_idx)
    same = _number(prompt, columns.paraphrase)
    if same < least[0]:
        raise Rejected("no_paraphrase", f"{same} call it a paraphrase, {least[0]} are wanted")
    votes = [_number(prompt, columns.first), _number(prompt, columns.second)]
    skipped = _number(prompt, columns.skip)
    if abs(votes[0] - votes[1]) < max(1, least[1]):
        raise Rejected("tie", f"{votes[0]} prefer the first, {votes[1]} the second")
    if votes[0] < votes[1]:
        arms, votes = arms[::-1], votes[::-1]
    n = sum(votes) + skipped
    filters = (
        FilterResult("paraphrase", True, float(same), float(least[0])),
        FilterResult("vote_margin", True, float(votes[0] - votes[1]), float(least[1])),
    )
    draft = Draft(_plain(arms[0]), _plain(arms[1]), None, None, "human", filters, dominance="votes")
    return draft, {
        "votes": Votes(votes[0], votes[1], skipped), "agreement": votes[0] / n,
        "pref_prob": (votes[0] + skipped / 2 + 0.5) / (n + 1),
    }  # fmt: skip


def by_support(
    candidates: Sequence[Candidate], scores: dict[str, CandidateScore], aspect: str, most: int, keep: bool
) -> Iterator[tuple[Found, bool]]:
    """Every two answers by how well their citations support what they say, and whether their numbers of citations differ by
    more than `most`: people prefer more citations, also irrelevant ones. keep: such pairs are no rejects."""
    for one, other in _couples(candidates):
        ratings = [aspect_means(s) if (s := scores.get(c.candidate_id)) else {} for c in (one, other)]
        n = [int(FEATURES["citations"](c.text)) for c in (one, other)]
        confounded = abs(n[0] - n[1]) > most
        try:
            if not min(n):
                raise Rejected("no_citation", "an answer cites nothing")
            if confounded and not keep:
                raise Rejected("citation_count_confound", f"{n[0]} citations against {n[1]}")
            found = prefer(ratings[0], ratings[1], {aspect: 1.0})
        except Rejected as why:
            yield why, False
            continue
        chosen, rejected = (one, other) if found.first else (other, one)
        counted = FilterResult("citation_gap", not confounded, float(abs(n[0] - n[1])), float(most))
        filters = (*found.filters(0.0), counted)
        yield (
            Draft(_plain(chosen), _plain(rejected), None, None, "judge", filters, found.scores, dominance="scalar"),
            confounded,
        )


def _number(prompt: Prompt, column: str) -> int:
    value = kept_column(prompt, column)
    if isinstance(value, str) and re.fullmatch(r"\d{1,6}", value.strip()):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != int(value) or value < 0:
        raise Rejected("bad_count", f"{column} is {value!r:.40}, not a number of people")
    return int(value)


def _couples(candidates: Sequence[Candidate]) -> Iterator[tuple[Candidate, Candidate]]:
    return itertools.combinations(sorted(candidates, key=lambda c: c.candidate_id), 2)


def _plain(candidate: Candidate) -> Sided:
    return Sided(candidate, "", 0, ())


def _gap(draft: Draft) -> float:
    return draft.scores[0] - draft.scores[1] if draft.scores else EPSILON
