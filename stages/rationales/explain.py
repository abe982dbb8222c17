"""explain: why the chosen arm of a pair is better, in words that survive the gate (spec judges C2).

    - {stage: explain, engine: judge, kinds: [detailed, contrastive], samples: 4}
    - {stage: explain, engine: judge, kinds: [detailed, argument_graph, critique], rubric: "Is it right, and brief?"}
    - {stage: explain, engine: judge, kinds: [step], from: [pair_steps]}
    - {stage: explain, engine: judge, verifier: {engine: small, checks: [utility, sensitivity]}}   # V8 and V9
    - {stage: explain, engine: judge, tools: true}            # behind use_tools: its author sees what the tools said

Blind first: the author does not know the label and its verdict has to agree with it. Where no blind rationale is kept,
post-hoc: the author is told the label (`label_visible`). Every attempt is a row, kept or rejected with a reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import ClassVar

from msgspec.structs import replace
from pydantic import Field

from pipeline import ids
from pipeline.engine import Request, Sampling
from pipeline.errors import PlanError
from pipeline.pair import Pair
from pipeline.prompts import Template, load_template
from pipeline.records import Judgment, Message, Rationale, Record
from pipeline.stage import Context, Example, Stage
from stages.judges.calls import answer_each
from stages.rationales.attempts import Attempt, Found, answered, blank_row, chosen_place, shown_alone, shown_arms
from stages.rationales.certain import with_certainty
from stages.rationales.critiques import CRITIQUE_SCHEMA, agreeing
from stages.rationales.gate import Limits
from stages.rationales.graphs import GRAPH_SCHEMA
from stages.rationales.kinds import COMPARING, Format, Kind, fits, limits
from stages.rationales.picking import Soft, best, with_quality, with_votes
from stages.rationales.replies import SCHEMA
from stages.rationales.tool_evidence import Traces, calls_about, traces
from stages.rationales.verifier import Verifier

_SCHEMAS = {"critique": CRITIQUE_SCHEMA, "argument_graph": GRAPH_SCHEMA}


class Explain(Stage):
    """Rationales for every pair whose arms answer the same prompt. What each column means: docs/rationales.md.

    kinds: `general` (a sentence or two), `detailed` (reasons with quotes), `contrastive` (both sides per criterion),
    `step` (of pairs of level step: which next step is valid and helps), `critique` (of each arm alone, by `rubric`),
    `argument_graph` (claims and premises of the best detailed rationale).
    format: how the first four are written: `json` prose and list of evidence, `free` prose, `annotated_report`,
    `procedural`, `subquestions`.
    samples: attempts per pair, kind and way.
    blind, post_hoc: which ways are tried; post-hoc only where no blind attempt was kept.
    structured: the engine is held to the JSON schema. budgets: tokens (words and punctuation marks) per kind.
    min_tokens, min_quote_precision: thresholds of the gate. soft: of the soft checks.
    verifier: who measures utility, sensitivity and the truth of claims; by default nobody. Another model than the
    author's (else every prompt counts `warned:verifier_is_the_author`).
    self_certainty: how sure the author was of a kept rationale, read from its engine's log-probabilities.
    tools: authors see what tools said of the responses (`use_tools`).
    max_chars: a pair with a longer text is not explained.
    """

    engine: str
    template: str = "default"
    critique_template: str = "critique"
    graph_template: str = "argument_graph"
    kinds: tuple[Kind, ...] = Field(("detailed",), min_length=1)
    format: Format = "json"
    samples: int = Field(2, ge=1, le=64)
    sampling: Sampling = Sampling(temperature=0.7, max_tokens=1024)
    blind: bool = True
    post_hoc: bool = True
    structured: bool = False
    budgets: dict[Kind, int] = Field(default_factory=dict)
    min_tokens: int = Field(20, ge=1)
    min_quote_precision: float = Field(0.8, ge=0, le=1)
    soft: Soft = Soft()
    verifier: Verifier | None = None
    rubric: str = ""
    self_certainty: bool = False
    tools: bool = False
    max_chars: int = Field(40_000, ge=1)

    version: ClassVar[int] = 3
    template_variables: ClassVar[frozenset[str]] = frozenset(
        "prompt steps response_a response_b kind label checks format rubric rationale notes claim sense".split()
    )

    def check(self) -> None:
        """Raises PlanError when no way is left, kinds lack what they need, or the verifier is the author."""
        if not (self.blind or self.post_hoc):
            raise PlanError("explain: both blind and post_hoc are off; switch one on")
        if self.sampling.n != 1:
            raise PlanError(f"explain: sampling.n is {self.sampling.n}; the number of attempts is set by samples")
        if len(set(self.kinds)) < len(self.kinds):
            raise PlanError(f"explain: kinds repeat ({', '.join(self.kinds)}); name each once")
        if "argument_graph" in self.kinds and "detailed" not in self.kinds:
            raise PlanError("explain: an argument_graph is drawn from a detailed rationale; add detailed to kinds")
        if self.verifier is not None and self.verifier.engine == self.engine:
            raise PlanError(f"explain: the verifier is the author {self.engine} itself; name another engine")

    def engines(self) -> tuple[str, ...]:
        """The author, and who verifies."""
        return (self.engine, self.verifier.engine) if self.verifier else (self.engine,)

    def capabilities(self, alias: str) -> frozenset[str]:
        """`json` of an author whose answer is structured, `certainty` of one that is measured; `labels` of a verifier."""
        if alias != self.engine:
            return frozenset({"generate", "labels"})
        more = ({"json"} if self.structured else set()) | ({"score", "certainty"} if self.self_certainty else set())
        return frozenset({"generate"} | more)

    def needs(self) -> tuple[type[Record], ...]:
        """Pairs; judgments where tools are told of."""
        return (Pair, Judgment) if self.tools else (Pair,)

    def templates(self) -> tuple[Template, ...]:
        """Those of its kinds, and the verifier's."""
        own = {self._template_of(kind).name: self._template_of(kind) for kind in self.kinds}
        return (*own.values(), *(self.verifier.templates() if self.verifier else ()))

    def _template_of(self, kind: Kind) -> Template:
        name = {"critique": self.critique_template, "argument_graph": self.graph_template}.get(kind, self.template)
        return load_template("explain", name)

    @cached_property
    def _identity(self) -> dict[str, str]:
        """What decides an author's answer, by kind."""
        fields = self.model_dump(mode="json", include={"sampling", "structured", "format", "rubric", "tools"})
        return {
            kind: ids.content_hash("explain/1", self.version, self._template_of(kind).sha256, fields)
            for kind in self.kinds
        }

    @cached_property
    def _limits(self) -> dict[Kind, Limits]:
        return {k: limits(k, self.min_tokens, self.budgets.get(k), self.min_quote_precision) for k in self.kinds}

    async def process(self, example: Example[Pair | Judgment], ctx: Context) -> list[Rationale]:
        """All attempts of all pairs: the blind ones, the post-hoc ones, critiques, argument graphs. Raises EngineError."""
        wanted = [(pair, kind) for pair in example.pairs for kind in self.kinds if self._fits(pair, kind, ctx)]
        comparing = [(pair, kind) for pair, kind in wanted if kind in COMPARING]
        known = traces(example.judgments) if self.tools else {}
        models = [ctx.engine_models.get(alias) for alias in self.engines()]
        if len(models) == 2 and models[0] and models[0] == models[1]:
            ctx.count("warned:verifier_is_the_author")
        rows = await self._round(self._attempts(comparing, False, known, ctx), ctx) if self.blind else []
        if self.post_hoc:
            settled = {(r.pair_id, r.kind) for r in rows if r.status == "ok" or r.reject_reason == "prompt_too_long"}
            left = [(pair, kind) for pair, kind in comparing if (pair.pair_id, kind) not in settled]
            rows += await self._round(self._attempts(left, True, known, ctx), ctx)
        criticized = [pair for pair, kind in wanted if kind == "critique"]
        rows += await self._round(self._critiques(criticized, known), ctx)
        rows += await self._round(self._graphs([p for p, kind in wanted if kind == "argument_graph"], rows), ctx)
        for row in rows:
            ctx.count("kept" if row.status == "ok" else f"refused:{row.reject_reason}")
        return rows

    @staticmethod
    def _fits(pair: Pair, kind: Kind, ctx: Context) -> bool:
        if why := fits(kind, pair):
            ctx.count(f"skipped:{why}")
        return why is None

    def _attempts(self, wanted: Sequence[tuple[Pair, Kind]], told: bool, known: Traces, ctx: Context) -> list[Attempt]:
        author = ctx.engine_models.get(self.engine) or self.engine
        made = []
        for pair, kind in wanted:
            calls = calls_about(pair, ("chosen", "rejected"), known)
            for k in range(self.samples):
                shown = shown_arms(pair, chosen_place(pair, ctx.run_seed, author, k))
                made.append(Attempt(pair, kind, told, k, shown, tools=calls))
        return made

    def _critiques(self, pairs: Sequence[Pair], known: Traces) -> list[Attempt]:
        return [
            Attempt(pair, "critique", False, k, shown_alone(pair, arm), arm, tools=calls_about(pair, (arm,), known))
            for pair in pairs
            for arm in ("chosen", "rejected")
            for k in range(self.samples)
        ]

    def _graphs(self, pairs: Sequence[Pair], rows: Sequence[Rationale]) -> list[Attempt]:
        made = []
        for pair in pairs:
            source = best([r for r in rows if r.pair_id == pair.pair_id and r.kind == "detailed"])
            if source is not None:
                shown = shown_arms(pair, "B" if source.shown_order else "A")
                blind = not source.label_visible
                made += [
                    Attempt(pair, "argument_graph", not blind, k, shown, source=source) for k in range(self.samples)
                ]
        return made

    async def _round(self, attempts: Sequence[Attempt], ctx: Context) -> list[Rationale]:
        """The rows of attempts, `samples` for each subject, asked together; votes, then the verifier, then quality."""
        found = await self._answered(attempts, ctx)
        scores = {(f.attempt.pair.pair_id, f.attempt.arm, f.attempt.sample_idx): f.score for f in found}
        rows: list[Rationale] = []
        for at in range(0, len(found), self.samples):
            group = [f.row for f in found[at : at + self.samples]]
            if group[0].arm is not None:
                other = {"chosen": "rejected", "rejected": "chosen"}[group[0].arm]
                group = [
                    agreeing(r, scores[r.pair_id, r.arm, r.sample_idx], scores[r.pair_id, other, r.sample_idx])
                    for r in group
                ]
            rows += group if group[0].label_visible else with_votes(group)
        if self.verifier is not None:
            kept = [n for n, row in enumerate(rows) if row.status == "ok" and row.kind != "argument_graph"]
            read = [replace(found[n], row=rows[n]).to_read() for n in kept]
            for n, row in zip(kept, await self.verifier.verified(read, ctx), strict=True):
                rows[n] = row
        if self.self_certainty:
            asked = [self._messages(f.attempt) for f in found]
            rows = await with_certainty(list(zip(rows, asked, strict=True)), ctx.engines[self.engine])
        return [with_quality(row, self.soft) for row in rows]

    async def _answered(self, attempts: Sequence[Attempt], ctx: Context) -> list[Found]:
        author = ctx.engine_models.get(self.engine) or self.engine
        blanks = [blank_row(a, self._identity[a.kind], author, ctx.job, self.format) for a in attempts]
        asked = [n for n, attempt in enumerate(attempts) if attempt.longest <= self.max_chars]
        requests = [self._request(attempts[n], blanks[n], ctx) for n in asked]
        answers = dict(zip(asked, await answer_each(ctx.engines[self.engine], requests), strict=True))
        return [
            answered(blank, attempt, answers.get(n), self._limits[attempt.kind])
            for n, (blank, attempt) in enumerate(zip(blanks, attempts, strict=True))
        ]

    def _request(self, attempt: Attempt, blank: Rationale, ctx: Context) -> Request:
        purpose = "/".join([attempt.way, attempt.kind, *filter(None, (attempt.arm,)), attempt.pair.pair_id])
        return Request(
            sampling=self.sampling,
            key=blank.rationale_id,
            seed=ctx.seed(attempt.pair.prompt_id, purpose, attempt.sample_idx),
            messages=self._messages(attempt),
            structured={"json": _SCHEMAS.get(attempt.kind, SCHEMA)} if self.structured else None,
        )

    def _messages(self, attempt: Attempt) -> tuple[Message, ...]:
        variables = attempt.variables() | {"format": self.format, "rubric": self.rubric}
        return self._template_of(attempt.kind).render(**variables)
