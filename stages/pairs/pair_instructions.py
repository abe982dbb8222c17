"""pair_instructions: pairs about what a prompt asks for, from responses that are there; no model (spec pairs 1, 17.2).

    - {stage: generate, engine: policy, sampling: {n: 4}}
    - {stage: pair_instructions, kinds: [mapl_inter, rpo_reverse]}

Verifiable instructions are derived from the responses and added to the prompt, so that the label is a fact: one response
keeps them, the other does not. docs/instructions.md lists the families.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import cached_property
from typing import ClassVar, Literal

from msgspec.structs import replace
from pydantic import Field, field_validator, model_validator

from pipeline import ids
from pipeline.errors import PlanError, Rejected
from pipeline.pair import Lineage, Pair
from pipeline.records import Candidate, Judgment, Prompt, Record, Reject
from pipeline.stage import Context, Example, Stage
from pipeline.tokenizer import check_tokenizer
from stages.constraints.instruction import FAMILIES, read_instructions
from stages.judges.rubrics import kept_column
from stages.pairs.build import CODE_VERSION
from stages.pairs.draw_instructions import Instructions
from stages.pairs.gate import FINISHED, Arm, Bounds, Gate, Refusal, why_refused
from stages.pairs.instruction_kinds import KINDS, Kind, Material, Rules
from stages.pairs.recheck import incomplete, passed, why_untrue
from stages.pairs.select import normal_text
from stages.pairs.truncation import TrainingLength, training_length


class PairInstructions(Stage):
    """Counts: `kept:<kind>`, `refused:<reason>` (with a reject row); of prompts `capped:<kind>`, `no_pair:<kind>`; of
    candidates `dropped:unusable_or_repeated`.

    kinds: mapl_intra (two prompts, one response; for reward models), mapl_inter and iopo_quad (groups of two prompts that
    want two responses the other way round), rpo_reverse (every instruction that the chosen response breaks is turned
    over; margin gamma for each that the rejected one breaks), conditionalised (all prompts of mapl_intra and the given
    instructions as ordinary pairs, by strict dominance).
    mirrored: mapl_intra in groups of two responses that prefer the same two prompts the other way round. Without it each
    response is by itself, and which prompt wins can be guessed from its wording in five of six cases.
    responses: `candidates` of the prompt, or the two arms of its `pairs` from upstream, whichever was chosen.
    only_right: leave out responses that verify did not find right; each response is the better one somewhere.
    families: which may be added; default all that suit the answers. n_instructions: how many a prompt gets, drawn.
    instruction_ids, instruction_kwargs: kept columns of the source with instructions of the prompt's own (IFEval's
    `instruction_id_list` and `kwargs`); `written`: the prompt says them already, else they are added.
    """

    version: ClassVar[int] = 1

    kinds: tuple[Kind, ...] = Field(tuple(KINDS), min_length=1)
    responses: Literal["candidates", "pairs"] = "candidates"
    only_right: bool = False
    families: tuple[str, ...] = ()
    n_instructions: tuple[int, int] = (1, 5)  # fewest and most; of groups at most 3
    mirrored: bool = True
    mode_mix: float = Field(0.5, ge=0, le=1)  # share of mapl_intra in mode a (all kept against one broken)
    gamma: float = Field(0.1, gt=0)  # rpo_reverse: margin_logit for each instruction that differs
    max_pairs: int = Field(4, ge=1)  # rows for each prompt and kind
    max_total: int = Field(12, ge=1)  # rows for each prompt
    separator: str = "\n\n"  # between a prompt and what is added
    instruction_ids: str | None = None
    instruction_kwargs: str = "kwargs"
    written: bool = False
    gate: Gate = Gate()

    @field_validator("families")
    @classmethod
    def _exist(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := set(names) - FAMILIES.keys():
            raise ValueError(f"no family {', '.join(sorted(unknown))}; families: {', '.join(sorted(FAMILIES))}")
        return names

    @model_validator(mode="after")
    def _few_to_many(self) -> PairInstructions:
        if not 1 <= self.n_instructions[0] <= self.n_instructions[1]:
            raise ValueError("n_instructions is [fewest, most], with 1 <= fewest <= most")
        return self

    def check(self) -> None:
        """Raises PlanError: a tokenizer that does not exist, `written` without a column that says what is written."""
        check_tokenizer(self.gate.tokenizer)
        if self.written and self.instruction_ids is None:
            raise PlanError(
                "pair_instructions: written needs instruction_ids, the kept column that names what is written"
            )

    def needs(self) -> tuple[type[Record], ...]:
        """Candidates, pairs where their arms are wanted, and outcomes where they count."""
        pairs: tuple[type[Record], ...] = (Pair,) if self.responses == "pairs" else ()
        return (Candidate, *pairs, Judgment) if self.only_right else (Candidate, *pairs)

    async def process(self, example: Example[Candidate | Pair | Judgment], ctx: Context) -> list[Pair | Reject]:
        """The rows of one prompt, kind by kind, then the refused ones. Raises Rejected (bad_constraints, missing_…)."""
        material = self._material(example, ctx)
        kept: dict[str, Pair] = {}
        refused: list[Reject] = []
        for kind in dict.fromkeys(self.kinds):
            before = len(kept)
            for group in KINDS[kind](material):
                if any(pair.unordered_id in kept for pair in group):
                    continue  # another draw came to the same prompts and answers
                if len(kept) - before + len(group) > self.max_pairs or len(kept) + len(group) > self.max_total:
                    ctx.count(f"capped:{kind}")
                    break
                if why := self._why_refused(group):
                    refused += [self._refused(pair, why, ctx) for pair in group]
                else:
                    kept |= {pair.unordered_id: self._finished(pair, ctx) for pair in group}
            ctx.count(f"kept:{kind}" if len(kept) > before else f"no_pair:{kind}", max(1, len(kept) - before))
        return [*kept.values(), *refused]

    def _material(self, example: Example[Candidate | Pair | Judgment], ctx: Context) -> Material:
        prompt, candidates = example.prompt, example.candidates
        if self.only_right:
            found = [(j.cand_ids[0], j.value == 1.0) for j in example.judgments if j.mode == "tool"]
            right = {who for who, is_right in found if is_right} - {who for who, is_right in found if not is_right}
            candidates = [c for c in candidates if c.candidate_id in right]
        distinct = _distinct(candidates)
        ctx.count("dropped:unusable_or_repeated", len(example.candidates) - len({id(c) for c in distinct.values()}))
        responses = tuple({c.candidate_id: c for c in distinct.values()}.values())
        couples = list(itertools.combinations(responses, 2))
        if self.responses == "pairs":
            arms = [arm for arm in sorted({_arms(pair) for pair in example.pairs}) if distinct.keys() >= {*arm}]
            couples = [(distinct[a], distinct[b]) for a, b in arms if distinct[a] is not distinct[b]]
            named = {c.candidate_id for couple in couples for c in couple}
            responses = tuple([c for c in responses if c.candidate_id in named])
        ids.stream("pair_instructions", ctx.run_seed, prompt.prompt_id, "couples").shuffle(couples)
        return Material(prompt, responses, tuple(couples), self._given(prompt), self.written, self._rules, ctx.run_seed)

    def _given(self, prompt: Prompt) -> Instructions:
        if self.instruction_ids is None:
            return ()
        columns = kept_column(prompt, self.instruction_ids), kept_column(prompt, self.instruction_kwargs)
        try:
            return read_instructions(*columns)
        except ValueError as error:
            raise Rejected("bad_constraints", str(error)) from error

    def _why_refused(self, group: Sequence[Pair]) -> Refusal | None:
        """The first reason against a row of the group, or against the group."""
        found = [self._why_row(pair) for pair in group] + ([incomplete(group)] if len(group) > 1 else [])
        return next((why for why in found if why), None)

    def _why_row(self, pair: Pair) -> Refusal | None:
        if why := why_untrue(pair):
            return why
        if pair.level == "prompt":  # one response: nothing to compare
            return None
        chosen, rejected = Arm(pair.chosen_messages[0].content), Arm(pair.rejected_messages[0].content)
        return why_refused(pair.prompt_messages, chosen, rejected, Bounds(), self.gate, self._length)

    def _refused(self, pair: Pair, why: Refusal, ctx: Context) -> Reject:
        ctx.count(f"refused:{why[0]}")
        return Reject(pair.prompt_id, ctx.job, "pair", why[0], f"{pair.kind}: {why[1]}", pair.pair_id)

    def _finished(self, pair: Pair, ctx: Context) -> Pair:
        parents = tuple(dict.fromkeys([g.candidate_id for g in (pair.chosen_gen, pair.rejected_gen) if g]))
        lineage = Lineage(
            ctx.run, "pair_instructions", str(self.version), CODE_VERSION, ctx.fingerprint, ctx.run_seed, parents
        )
        return replace(pair, filters=passed(pair), lineage=lineage)

    @cached_property
    def _rules(self) -> Rules:
        names = self.families or tuple(FAMILIES)
        return Rules(names, self.n_instructions, self.mode_mix, self.gamma, self.separator, self.mirrored)

    @cached_property
    def _length(self) -> TrainingLength | None:
        return training_length(self.gate.tokenizer, self.gate.max_length)


def _distinct(candidates: Sequence[Candidate]) -> dict[str, Candidate]:
    """Candidate id -> the first, by id and not by arrival, of those that say the same; finished and not planted ones."""
    by_text: dict[str, Candidate] = {}
    found: dict[str, Candidate] = {}
    for candidate in sorted(candidates, key=lambda c: c.candidate_id):
        text = normal_text(candidate.text)
        if text and candidate.finish_reason in FINISHED and candidate.policy_relation != "canary":
            found[candidate.candidate_id] = by_text.setdefault(text, candidate)
    return found


def _arms(pair: Pair) -> tuple[str, str]:
    """Candidate ids of a pair's arms, in an order that does not tell which was chosen."""
    one, other = sorted([gen.candidate_id if gen else "" for gen in (pair.chosen_gen, pair.rejected_gen)])
    return one, other
