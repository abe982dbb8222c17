"""explain: why the chosen arm of a pair is better, in words that survive the gate (spec judges C2).

Blind first: the author does not know the label and its verdict has to agree with it. Where no blind rationale is kept,
post-hoc: the author is told the label (`label_visible`). Every attempt is a row, kept or rejected with a reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import ClassVar, Literal

import msgspec
from msgspec import Struct
from pydantic import Field

from pipeline import ids
from pipeline.engine import Completion, Request, Sampling
from pipeline.errors import PlanError, Rejected
from pipeline.pair import Pair
from pipeline.prompts import Template
from pipeline.records import Rationale
from pipeline.stage import Context, Example, Stage
from stages.judges.calls import answer_each
from stages.judges.hygiene import as_data, prompt_text
from stages.rationales.gate import Limits, Shown, gate, implied_label, with_votes
from stages.rationales.references import statement
from stages.rationales.replies import SCHEMA, Reply, parse_reply

Kind = Literal["general", "detailed", "contrastive"]

_BUDGETS: dict[Kind, int] = {"general": 60, "detailed": 300, "contrastive": 350}  # tokens
_QUOTES: dict[Kind, Literal["none", "any", "both"]] = {"general": "none", "detailed": "any", "contrastive": "both"}


class _Attempt(Struct, frozen=True, gc=False):
    """One rationale asked for: of which pair, in which way, and what is shown."""

    pair: Pair
    kind: Kind
    label_visible: bool
    sample_idx: int
    shown: Shown
    rationale_id: str
    request: Request | None  # None: too long to show


class Explain(Stage):
    """Rationales for every pair whose arms answer the same prompt.

    kinds: `general` (a sentence or two), `detailed` (reasons with quotes), `contrastive` (both sides per criterion).
    samples: attempts per pair, kind and way.
    blind, post_hoc: which ways are tried; post-hoc only where no blind attempt was kept.
    structured: the engine is held to the JSON schema. budgets: tokens (words and punctuation marks) per kind.
    min_tokens, min_quote_precision: thresholds of the gate. max_chars: a pair with a longer text is not explained.
    """

    engine: str
    template: str = "default"
    kinds: tuple[Kind, ...] = Field(("detailed",), min_length=1)
    samples: int = Field(2, ge=1, le=64)
    sampling: Sampling = Sampling(temperature=0.7, max_tokens=1024)
    blind: bool = True
    post_hoc: bool = True
    structured: bool = False
    budgets: dict[Kind, int] = Field(default_factory=dict)
    min_tokens: int = Field(20, ge=1)
    min_quote_precision: float = Field(0.8, ge=0, le=1)
    max_chars: int = Field(40_000, ge=1)

    template_variables: ClassVar[frozenset[str]] = frozenset({"prompt", "response_a", "response_b", "kind", "label"})

    def check(self) -> None:
        """Raises PlanError when no way is left, or sampling.n competes with samples."""
        if not (self.blind or self.post_hoc):
            raise PlanError("explain: both blind and post_hoc are off; switch one on")
        if self.sampling.n != 1:
            raise PlanError(f"explain: sampling.n is {self.sampling.n}; the number of attempts is set by samples")
        if len(set(self.kinds)) < len(self.kinds):
            raise PlanError(f"explain: kinds repeat ({', '.join(self.kinds)}); name each once")

    def capabilities(self, alias: str) -> frozenset[str]:
        """`json` where the answer is structured."""
        return frozenset({"generate", "json"} if self.structured else {"generate"})

    @cached_property
    def _template(self) -> Template:
        return self.templates()[0]

    @cached_property
    def _identity(self) -> str:
        fields = {"sampling": self.sampling.model_dump(mode="json"), "structured": self.structured}
        return ids.content_hash("explain/1", self.version, self._template.sha256, fields)

    @cached_property
    def _limits(self) -> dict[str, Limits]:
        return {
            kind: Limits(
                self.min_tokens, self.budgets.get(kind, _BUDGETS[kind]), self.min_quote_precision, _QUOTES[kind]
            )
            for kind in self.kinds
        }

    async def process(self, example: Example[Pair], ctx: Context) -> list[Rationale]:
        """All attempts of all pairs: the blind ones, then the post-hoc ones. Raises EngineError."""
        wanted = [(pair, kind) for pair in example.pairs if self._explainable(pair, ctx) for kind in self.kinds]
        rows: list[Rationale] = []
        if self.blind:
            for group in await self._round(wanted, False, ctx):
                rows += with_votes(group)
        if self.post_hoc:
            kept = {(r.pair_id, r.kind) for r in rows if r.status == "ok"}
            too_long = {(r.pair_id, r.kind) for r in rows if r.reject_reason == "prompt_too_long"}
            left = [(pair, kind) for pair, kind in wanted if (pair.pair_id, kind) not in kept | too_long]
            for group in await self._round(left, True, ctx):
                rows += group
        for row in rows:
            ctx.count("kept" if row.status == "ok" else f"refused:{row.reject_reason}")
        return rows

    @staticmethod
    def _explainable(pair: Pair, ctx: Context) -> bool:
        """Arms that answer different prompts cannot be shown under one."""
        if pair.rejected_prompt_messages is None:
            return True
        ctx.count("skipped:two_prompts")
        return False

    async def _round(
        self, wanted: Sequence[tuple[Pair, Kind]], label_visible: bool, ctx: Context
    ) -> list[list[Rationale]]:
        """One group of rows per (pair, kind); everything is asked in one call."""
        author = ctx.engine_models.get(self.engine) or self.engine
        attempts = [
            self._attempt(pair, kind, label_visible, k, ctx) for pair, kind in wanted for k in range(self.samples)
        ]
        requests = [a.request for a in attempts if a.request is not None]
        answers = iter(await answer_each(ctx.engines[self.engine], requests))
        rows = [self._row(a, next(answers) if a.request is not None else None, ctx.job, author) for a in attempts]
        return [rows[i : i + self.samples] for i in range(0, len(rows), self.samples)]

    def _attempt(self, pair: Pair, kind: Kind, label_visible: bool, sample_idx: int, ctx: Context) -> _Attempt:
        author = ctx.engine_models.get(self.engine) or self.engine
        chosen = chosen_place(pair, ctx.run_seed, author, sample_idx)
        prompt = prompt_text(pair.prompt_messages, pair.assistant_prefix or "")
        better, worse = pair.chosen_messages[-1].content, pair.rejected_messages[-1].content
        shown = Shown(prompt, *((better, worse) if chosen == "A" else (worse, better)), chosen)
        way = "post_hoc" if label_visible else "blind"
        key = ids.content_hash("rationale/1", self._identity, author, pair.pair_id, kind, way, sample_idx)
        request = None
        if max(len(prompt), len(better), len(worse)) <= self.max_chars:
            request = Request(
                sampling=self.sampling,
                key=key,
                seed=ctx.seed(pair.prompt_id, f"{way}/{kind}/{pair.pair_id}", sample_idx),
                messages=self._template.render(
                    prompt=prompt, response_a=as_data(shown.response_a), response_b=as_data(shown.response_b),
                    kind=kind, label=chosen if label_visible else "",
                ),
                structured={"json": SCHEMA} if self.structured else None,
            )  # fmt: skip
        return _Attempt(pair, kind, label_visible, sample_idx, shown, key, request)

    def _row(self, attempt: _Attempt, answer: Completion | Rejected | None, job: str, author: str) -> Rationale:
        pair, shown = attempt.pair, attempt.shown
        completion = answer if isinstance(answer, Completion) else None
        reply = parse_reply(completion.text) if completion is not None else None
        truncated = completion is not None and completion.finish_reason != "stop"
        row = Rationale(
            prompt_id=pair.prompt_id,
            rationale_id=attempt.rationale_id,
            pair_id=pair.pair_id,
            job=job,
            chosen_id=pair.chosen_gen.candidate_id if pair.chosen_gen else None,
            rejected_id=pair.rejected_gen.candidate_id if pair.rejected_gen else None,
            kind=attempt.kind,
            format="json",
            label_visible=attempt.label_visible,
            shown_order=0 if shown.chosen == "A" else 1,
            author_model=author,
            sample_idx=attempt.sample_idx,
            status="rejected",
            reject_reason="prompt_too_long" if completion is None else "truncated" if truncated else "parse_error",
            raw_text=completion.text if completion is not None else None,
            n_tokens=completion.n_tokens if completion is not None else None,
        )
        return row if reply is None else self._gated(row, reply, shown, truncated)

    def _gated(self, row: Rationale, reply: Reply, shown: Shown, truncated: bool) -> Rationale:
        """The row with what the reply says and what the gate found."""
        found = gate(reply, shown, self._limits[row.kind], truncated)
        label = implied_label(reply, shown.chosen)
        worse = {"A": "B", "B": "A"}.get(reply.label)
        return msgspec.structs.replace(
            row,
            status="ok" if found.reason is None else "rejected",
            reject_reason=found.reason,
            statement=statement(reply.label, worse, reply.strength) if worse else None,
            elaboration=reply.elaboration,
            text=reply.text,
            implied_label=label,
            implied_strength=None if reply.strength is None else label * reply.strength,
            spans=found.spans,
            verify=found.verify,
        )


def chosen_place(pair: Pair, run_seed: int, author: str, sample_idx: int) -> str:
    """Where the chosen arm is shown, A or B: by a hash bit that depends on neither label nor worker (spec C0.5)."""
    arms = [
        gen.candidate_id if gen is not None else ids.content_hash("text/1", messages[-1].content)
        for gen, messages in (
            (pair.chosen_gen, pair.chosen_messages),
            (pair.rejected_gen, pair.rejected_messages),
        )
    ]
    low, high = sorted(arms)
    first = low if ids.seed(run_seed, "shown_order", pair.prompt_id, low, high, author, sample_idx) & 1 == 0 else high
    return "A" if arms[0] == first else "B"
