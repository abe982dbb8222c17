"""pair_aspects: pairs by single aspects of the answers (spec pairs 12, 17.2).

    - {stage: rate, engine: judge, aspects: [simulpl]}      # or helpsteer, ecommerce, …: stages/judges/aspects.py
    - stage: pair_aspects
      kind: multi_aspect
      mixes:
        - {name: exact, weights: {translation_quality: 2, key_points: 1}, text: Leave nothing out.}
        - {name: quick, weights: {monotonicity: 2, simplicity: 1}, dominance: weighted, text: Speak while I speak.}

| kind | chosen over rejected | needs |
|---|---|---|
| multi_aspect | dominates by Pareto on the aspects of a mix, or wins their weighted sum | rate on those aspects |
| paraphrase_style | of two texts that say the same, the one that more people prefer (AdParaphrase) | kept columns of counts |
| citation_support | citations support it better, at equal numbers of citations (Search Arena) | rate on `support_aspect` |
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, ClassVar, Literal

import msgspec
from msgspec.structs import replace
from pydantic import Field, model_validator

from pipeline.errors import Rejected
from pipeline.pair import Lineage, Pair
from pipeline.records import Candidate, Judgment, Record, Reject
from pipeline.stage import Context, Example, Stage
from pipeline.tokenizer import check_tokenizer
from stages.contexts.conditions import Placement
from stages.judges.features import features
from stages.judges.labels import label_columns
from stages.judges.scores import CandidateScore, candidate_scores
from stages.pairs.aspect_kinds import Found, Mix, ParaphraseColumns, by_mix, by_paraphrase, by_support
from stages.pairs.build import CODE_VERSION, score_rows
from stages.pairs.context_kinds import Draft
from stages.pairs.context_rows import conditional_pair
from stages.pairs.gate import FINISHED, Arm, Bounds, Gate, why_refused
from stages.pairs.select import normal_text
from stages.pairs.truncation import TrainingLength, training_length

Proposal = tuple[Found, dict[str, Any]]  # and further columns of the row


class PairAspects(Stage):
    """Pairs of one kind. Counts: `kept`, `refused:<reason>` (with a reject row), `over_cap`, `no_pair` (prompts).

    mixes: of multi_aspect; several need a `text` each, because two mixes may prefer the same answers the other way round.
    placement: where the prompt says the mix. min_margin: least gap of the weighted means, on [0, 1].
    max_pairs: for each prompt and mix. paraphrase, min_paraphrase, vote_margin: of paraphrase_style.
    support_aspect, max_citation_gap: of citation_support; keep_confounded: pairs whose numbers of citations differ more are
    kept with the flag `citation_count_confound`. `ext_json.factors` of the last two: in what else the arms differ.
    """

    version: ClassVar[int] = 2
    where_made: ClassVar[frozenset[type[Record]]] = frozenset({Judgment})

    kind: Literal["multi_aspect", "paraphrase_style", "citation_support"]
    mixes: tuple[Mix, ...] = ()
    placement: Placement = "system"
    min_margin: float = Field(0.1, ge=0, le=1)
    max_pairs: int = Field(4, ge=1)
    paraphrase: ParaphraseColumns = ParaphraseColumns()
    min_paraphrase: int = Field(3, ge=1)
    vote_margin: int = Field(1, ge=1)
    support_aspect: str = "citation_support"
    max_citation_gap: int = Field(1, ge=0)
    keep_confounded: bool = False
    scores: tuple[str, ...] = ()  # judging jobs that count; default: all
    gate: Gate = Gate()

    @model_validator(mode="after")
    def _complete(self) -> PairAspects:
        if (self.kind == "multi_aspect") != bool(self.mixes):
            raise ValueError("kind multi_aspect needs mixes, and no other kind has them")
        if len(self.mixes) > 1 and (silent := [mix.name for mix in self.mixes if mix.text is None]):
            raise ValueError(f"of several mixes the prompt must say which holds; {', '.join(silent)}: give a text")
        return self

    def check(self) -> None:
        """Raises PlanError for a tokenizer that does not exist."""
        check_tokenizer(self.gate.tokenizer)

    async def process(self, example: Example[Candidate | Judgment], ctx: Context) -> list[Pair | Reject]:
        """The rows of one prompt, mix by mix, then the refused ones. Raises Rejected: missing_<column>."""
        scores = candidate_scores([j for j in example.judgments if not self.scores or j.job in self.scores])
        kept: dict[str, Pair] = {}
        refused: list[Reject] = []
        taken: dict[str, int] = {}
        for found, columns in self._proposals(example, scores):
            try:
                if isinstance(found, Rejected):
                    raise found
                row = self._row(example, found, scores, columns, ctx)
            except Rejected as why:
                ctx.count(f"refused:{why.reason}")
                refused.append(Reject(example.prompt.prompt_id, ctx.job, "pair", why.reason, why.detail))
                continue
            if row.unordered_id in kept or taken.get(found.role or "", 0) == self.max_pairs:
                ctx.count("over_cap")
                continue
            kept[row.unordered_id] = row
            taken[found.role or ""] = taken.get(found.role or "", 0) + 1
        ctx.count("kept" if kept else "no_pair", len(kept) or 1)
        return [*kept.values(), *refused]

    def _proposals(self, example: Example[Any], scores: dict[str, CandidateScore]) -> Iterator[Proposal]:
        """Drafts and reasons for none, in an order that does not depend on arrival."""
        candidates = _distinct(example.candidates)
        if self.kind == "multi_aspect":
            for mix in self.mixes:
                for found in by_mix(candidates, scores, mix, self.placement, self.min_margin):
                    yield found, {}
        elif self.kind == "citation_support":
            args = self.support_aspect, self.max_citation_gap, self.keep_confounded
            for found, confounded in by_support(candidates, scores, *args):
                yield found, {"flags": ("citation_count_confound",)} if confounded else {}
        else:
            least = self.min_paraphrase, self.vote_margin
            try:
                draft, columns = by_paraphrase(example.prompt, candidates, self.paraphrase, least)
            except Rejected as why:
                if why.reason.startswith("missing_"):
                    raise  # the config's fault: said once for each prompt
                yield why, {}
                return
            yield draft, columns | label_columns(columns["pref_prob"])

    def _row(
        self, example: Example[Any], draft: Draft, scores: dict[str, CandidateScore], columns: dict[str, Any], ctx: Context
    ) -> Pair:  # fmt: skip
        arms = [draft.chosen.candidate, draft.rejected.candidate]
        lineage = Lineage(
            ctx.run, "pair_aspects", str(self.version), CODE_VERSION, ctx.fingerprint, ctx.run_seed,
            tuple([arm.candidate_id for arm in arms]),
        )  # fmt: skip
        told = score_rows(*[s.scores if (s := scores.get(arm.candidate_id)) else () for arm in arms])
        pair = conditional_pair(
            self.kind, example.prompt, draft, self.gate, lineage=lineage, scores=told, **columns
        )  # fmt: skip
        sides = [Arm(arm.text, arm.finish_reason) for arm in arms]
        why = why_refused(pair.prompt_messages, sides[0], sides[1], Bounds(), self.gate, self._length)
        if why is not None:
            raise Rejected(*why)
        if self.kind == "multi_aspect":
            return pair
        one, other = (features(arm.text) for arm in arms)
        gaps = {name: value - other[name] for name, value in one.items() if value != other[name]}
        return replace(pair, ext_json=msgspec.json.encode({"factors": gaps}, order="deterministic").decode())

    @cached_property
    def _length(self) -> TrainingLength | None:
        return training_length(self.gate.tokenizer, self.gate.max_length)


def _distinct(candidates: Sequence[Candidate]) -> list[Candidate]:
    """The first, by id, of finished answers that say the same."""
    found: dict[str, Candidate] = {}
    for candidate in sorted(candidates, key=lambda c: c.candidate_id):
        if candidate.text.strip() and candidate.finish_reason in FINISHED and candidate.policy_relation != "canary":
            found.setdefault(normal_text(candidate.text), candidate)
    return list(found.values())
