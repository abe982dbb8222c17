"""The costly checks of the gate: another engine reads a rationale without its verdict (V8, V9) and its claims (V10).

A preference asked in both orders, once without and twice with notes, whole and with words replaced; then a yes or no for
each claim. What was not answered stays None, and a check without its numbers is not evaluated.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Literal, NamedTuple

from msgspec import Struct
from msgspec.structs import replace
from pydantic import BaseModel, ConfigDict, Field

from pipeline import ids
from pipeline.engine import Completion, Request, Sampling
from pipeline.prompts import Template, load_template
from pipeline.records import Message, Rationale
from pipeline.stage import Context
from stages.judges.calls import answer_each
from stages.judges.hygiene import as_data
from stages.judges.options import BETTER, FIRST, SECOND, YES_NO, read_preference, read_yes_no
from stages.judges.verdicts import ScoreRule
from stages.rationales.measures import both_orders, hide_verdict, measured, perturb, weakest
from stages.rationales.references import swap_refs

Check = Literal["utility", "sensitivity", "claims"]
_SIDES = {side: BETTER[side] for side in (FIRST, SECOND)}
_SENSES = ("truthfulness", "relevance")
_PLACES = {"A": "B", "B": "A"}


class Read(Struct, frozen=True, gc=False):
    """A kept rationale with the texts it is about. place: where the chosen arm stands in its words, A or B."""

    row: Rationale
    prompt: str
    chosen: str
    rejected: str
    place: str
    claims: tuple[str, ...]


class _Probe(NamedTuple):
    """One question about rationale number `about`, the place the chosen arm is shown in, and what it tells: the
    probability of the label `given` notes, `without` or with `perturbed` ones; or of a claim's `truthfulness` or `relevance`.
    """

    about: int
    tells: str
    place: str
    request: Request


class Verifier(BaseModel):
    """Who verifies; the config's `verifier:` block.

    engine: another one than the author's; it must tell label probabilities. checks: `utility` (V8: does the rationale
    raise the probability of the label), `sensitivity` (V9: does it do so less when `perturb` of its words are replaced),
    `claims` (V10: is each claim true and to the point). template, claim_template: prompts/explain. label_mass_min: with
    less probability on the labels the answer counts for nothing. max_claims: per rationale.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    engine: str
    template: str = "verify"
    claim_template: str = "claim"
    checks: tuple[Check, ...] = ("utility", "sensitivity", "claims")
    perturb: float = Field(0.3, gt=0, le=1)
    label_mass_min: float = Field(0.5, ge=0, le=1)
    max_claims: int = Field(8, ge=1, le=64)

    def templates(self) -> tuple[Template, ...]:
        """Those its checks need; the preference's first."""
        preference = [self._preference] if {"utility", "sensitivity"} & {*self.checks} else []
        return (*preference, *([self._claim] if "claims" in self.checks else []))

    @cached_property
    def _preference(self) -> Template:
        return load_template("explain", self.template)

    @cached_property
    def _claim(self) -> Template:
        return load_template("explain", self.claim_template)

    @cached_property
    def _identity(self) -> str:
        fields = self.model_dump(mode="json", exclude={"engine"})
        return ids.content_hash("verifier/1", [t.sha256 for t in self.templates()], fields)

    async def verified(self, read: Sequence[Read], ctx: Context) -> list[Rationale]:
        """The rows with what the verifier says of them, everything asked in one call. Raises EngineError."""
        probes = [probe for n, item in enumerate(read) for probe in self._probes(n, item, ctx)]
        answers = await answer_each(ctx.engines[self.engine], [probe.request for probe in probes])
        said: list[dict[str, list[float | None]]] = [{} for _ in read]
        for probe, answer in zip(probes, answers, strict=True):
            value = self._value(probe, answer) if isinstance(answer, Completion) else None
            said[probe.about].setdefault(probe.tells, []).append(value)
        return [self._row(item.row, told) for item, told in zip(read, said, strict=True)]

    def _value(self, probe: _Probe, answer: Completion) -> float | None:
        if probe.tells in _SENSES:
            return read_yes_no(answer, ScoreRule(0, 1, YES_NO, self.label_mass_min, False)).value
        rule = ScoreRule(0, 1, _SIDES, self.label_mass_min, False)
        return read_preference(answer, rule, first=probe.place == FIRST, ties=False).value

    @staticmethod
    def _row(row: Rationale, told: dict[str, list[float | None]]) -> Rationale:
        orders = {what: both_orders(told.get(what, [])) for what in ("given", "without", "perturbed")}
        verify = measured(row.verify, **orders)
        least = {what: weakest(told.get(what, [])) for what in _SENSES}
        return replace(row, verify=replace(verify, **least))

    def _probes(self, number: int, item: Read, ctx: Context) -> list[_Probe]:
        probes = []
        for tells, notes in self._notes(item, ctx).items():
            for place in (FIRST, SECOND):
                asked = self._preferring(item, place, notes)
                probes.append(_Probe(number, tells, place, self._request(item, (tells, place), asked, ctx)))
        for k, claim in enumerate(item.claims[: self.max_claims] if "claims" in self.checks else ()):
            for sense in _SENSES:
                asked = self._claiming(item, claim, sense)
                probes.append(_Probe(number, sense, item.place, self._request(item, (sense, k), asked, ctx)))
        return probes

    def _notes(self, item: Read, ctx: Context) -> dict[str, str]:
        """The notes that the preference is asked with; none where only claims are checked, or where the names of the
        responses cannot follow the order."""
        if item.row.verify.rewritable is False and item.row.arm is None:
            return {}
        hidden = hide_verdict(item.row.text or "")
        notes = {"given": hidden}
        if "utility" in self.checks:
            notes["without"] = ""
        if "sensitivity" in self.checks:
            stream = ids.stream("perturb", ctx.run_seed, item.row.rationale_id)
            notes["perturbed"] = perturb(hidden, (item.prompt, item.chosen, item.rejected), stream, self.perturb)
        return notes if len(notes) > 1 else {}

    def _preferring(self, item: Read, place: str, notes: str) -> tuple[Message, ...]:
        """Which is better? With the chosen arm at `place`, and the notes rewritten to that order."""
        if notes and item.row.arm is not None:  # a critique's words are about one response
            about = place if item.row.arm == "chosen" else _PLACES[place]
            notes = f"Of Response {about}:\n{notes}"
        elif place != item.place:
            notes = swap_refs(notes)
        first, second = as_data(item.chosen), as_data(item.rejected)
        return self._preference.render(
            prompt=item.prompt, response_a=first if place == FIRST else second,
            response_b=second if place == FIRST else first, notes=as_data(notes),
        )  # fmt: skip

    def _claiming(self, item: Read, claim: str, sense: str) -> tuple[Message, ...]:
        texts = [as_data(item.chosen), as_data(item.rejected)]
        if item.row.arm is not None:
            texts = [texts[item.row.arm == "rejected"], ""]
        elif item.place == SECOND:
            texts.reverse()
        return self._claim.render(
            prompt=item.prompt, response_a=texts[0], response_b=texts[1], claim=as_data(claim), sense=sense
        )

    def _request(self, item: Read, what: tuple[str, object], asked: tuple[Message, ...], ctx: Context) -> Request:
        preference = what[0] not in _SENSES
        return Request(
            sampling=Sampling(temperature=0, max_tokens=8),
            key=ids.content_hash("verify/1", self._identity, item.row.rationale_id, *what),
            seed=ctx.seed(item.row.prompt_id, f"verify/{item.row.rationale_id}/{what[0]}/{what[1]}"),
            messages=asked,
            labels=tuple(_SIDES if preference else YES_NO),
        )
