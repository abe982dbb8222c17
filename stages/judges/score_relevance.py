"""score_relevance: R³, relevance by embeddings with the length and the variety of an answer (spec judges §8, C3 J5)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from pipeline import ids
from pipeline.errors import Rejected
from pipeline.records import Candidate, Judgment
from pipeline.stage import Context, Example, Stage
from stages.judges.calls import ask_each
from stages.judges.families import model_family
from stages.judges.gauge import UNBOUNDED, Gauge
from stages.judges.relevance import Parts, length_incentive, own_answer, product, standardised, variety, words


class ScoreRelevance(Stage):
    """Measures every candidate; each part is a row of its own, mode `relevance`, so that they can be combined anew.

    Aspects: `r3_relevance`, the dot product of the embeddings of prompt and answer, or of reference and answer where the
    prompt is closed; `r3_length`, words / 100, at most li_cap; `r3_variety`, the share of distinct runs of rp_n words;
    and `r3`, all of it: standardised over the prompt's candidates (zscore), or the published product (none).

    engine: an embedding model; its dot products decide the scale, so it should be one trained for them (Contriever).
    prompts: closed ones have one right answer, at which length is no merit; auto: those with a reference. max_tokens: of
    the product's map from relevance to reward. Alone, relevance is won by answers that repeat the question: a signal
    beside others. Its aspects count in a score only where they are given a weight. Counts: `refused:<reason>`.
    """

    version: ClassVar[int] = 1

    engine: str
    prompts: Literal["auto", "open", "closed"] = "auto"
    li_cap: float = Field(4.0, gt=0)
    rp_n: int = Field(3, ge=1)
    normalise: Literal["zscore", "none"] = "zscore"
    max_tokens: int = Field(512, ge=1)

    def capabilities(self, alias: str) -> frozenset[str]:
        """`embed`."""
        return frozenset({"embed"})

    async def process(self, example: Example[Candidate], ctx: Context) -> list[Judgment]:
        """Four judgments per candidate. Raises EngineError, and Rejected for a closed prompt without a reference."""
        reference = example.prompt.reference
        if self.prompts == "closed" and not reference:
            raise Rejected("no_reference", "prompts: closed compares with the reference, and this prompt has none")
        closed = bool(reference) and self.prompts != "open"
        asked = reference if closed and reference else "\n\n".join(
            [m.content for m in example.prompt.messages if m.role != "system"]
        )  # fmt: skip
        answers = [own_answer(candidate.text) for candidate in example.candidates]
        found = await self._relevance(asked, answers, ctx)
        parts = [self._parts(answer, found[answer], closed) for answer in answers]
        scores = standardised(parts)
        if self.normalise == "none":
            scores = [None if p is None else product(p, self.max_tokens) for p in parts]
        judge = ctx.engine_models.get(self.engine) or self.engine
        fields = self.model_dump(mode="json", exclude={"engine"})
        identity = ids.content_hash("score_relevance/1", self.version, fields)
        family = ctx.engine_families.get(self.engine) or model_family(judge)
        gauge = Gauge(ctx.job, "relevance", judge, family, identity)
        rows = zip(example.candidates, answers, scores, strict=True)
        return [row for c, answer, score in rows for row in self._rows(gauge, c, answer, found[answer], score)]

    async def _relevance(self, asked: str, answers: Sequence[str], ctx: Context) -> Mapping[str, float | Rejected]:
        """The dot product of each answer with what was asked, or why there is none. Equal texts are embedded once."""
        texts = [text for text in dict.fromkeys((asked, *answers)) if text]
        made: list[Any] = await ask_each(ctx.engines[self.engine].embed, texts)
        for vector in made:
            if isinstance(vector, Rejected):
                ctx.count(f"refused:{vector.reason}")
        known: dict[str, Any] = dict.fromkeys((asked, *answers), Rejected("empty")) | dict(
            zip(texts, made, strict=True)
        )
        query = known[asked]
        return {
            text: next((v for v in (query, vector) if isinstance(v, Rejected)), None) or float(np.dot(query, vector))
            for text, vector in known.items()
        }

    def _parts(self, answer: str, relevance: float | Rejected, closed: bool) -> Parts | None:
        if isinstance(relevance, Rejected) or not np.isfinite(relevance):
            return None
        tokens = words(answer)
        return Parts(relevance, length_incentive(len(tokens), self.li_cap), variety(tokens, self.rp_n), closed)

    def _rows(
        self, gauge: Gauge, candidate: Candidate, answer: str, relevance: float | Rejected, score: float | None
    ) -> list[Judgment]:
        tokens = words(answer)
        return [
            gauge.row(candidate, relevance, "r3_relevance"),
            gauge.row(
                candidate, length_incentive(len(tokens), self.li_cap), "r3_length", (0.0, self.li_cap), len(tokens)
            ),
            gauge.row(candidate, variety(tokens, self.rp_n), "r3_variety", (0.0, 1.0), len(tokens)),
            gauge.row(candidate, relevance if score is None else score, "r3", UNBOUNDED),
        ]
