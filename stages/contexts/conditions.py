"""Conditions that a preference holds under, how a prompt says them, and how answers carry them. Pure.

An answer that was made (or given) for a condition says so in its `ext_json`: `made` with way `context`, its group (the
answers of one set of conditions) and its role (the condition's name, or `generic`), and `contexts`: the texts of the
condition, the first of which it answers. Judges and pairs read them there, so that a config names a condition once.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import msgspec
from msgspec import Struct
from msgspec.structs import replace
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline import ids
from pipeline.errors import Rejected
from pipeline.pair import Attribute
from pipeline.pair import Context as Held
from pipeline.records import Candidate, Message, Prompt
from pipeline.stage import Context
from stages.candidates.making import Making, constructed
from stages.contexts.system_message import with_system
from stages.judges.rubrics import kept_column
from stages.pairs.gate import FINISHED

Placement = Literal["system", "before", "after"]  # in the system message, or around the last user message
WAY, GENERIC = "context", "generic"
NO_CONTEXT = "none"  # stands for a context id where a judge saw no context


class Trait(BaseModel):
    """One preference of a persona, or one norm of a role (kind hard or soft), with its weight."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1)
    value: str = ""
    importance: float = Field(1.0, gt=0)
    kind: str | None = None


class Condition(BaseModel):
    """What a preference depends on. scenario: a situation from which the same follows without being said (RPR).

    source: who wrote it; a name of a dataset or model.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[\w .-]{1,60}$")
    text: str = Field(min_length=1)
    scenario: str | None = None
    type: str = "criterion"  # criterion, persona, role, value, stance, system, passage, …
    traits: tuple[Trait, ...] = ()
    source: str | None = None

    def contexts(self, placement: Placement) -> tuple[Held, ...]:
        """The condition as columns of a pair hold it; its scenario second."""
        traits = tuple([Attribute(t.name, t.value, t.importance, t.kind) for t in self.traits])
        said = [Held(self.type, self.text, placement, self.source, traits)]
        if self.scenario:
            said.append(Held("scenario", self.scenario, placement, self.source, traits))
        return tuple(said)


class ConditionColumns(BaseModel):
    """A condition whose parts stand in kept columns of the source. wording: with `{}` where the column's text goes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    text: str
    scenario: str | None = None
    traits: str | None = None
    type: str = "criterion"
    wording: str = "{}"

    def read(self, prompt: Prompt) -> Condition:
        """The condition of one prompt. Raises Rejected: missing_<column>, bad_condition."""
        text, scenario = (_words(kept_column(prompt, path)) if path else None for path in (self.text, self.scenario))
        given = kept_column(prompt, self.traits) if self.traits else ()
        try:
            return Condition(
                name=self.name, text=self.wording.replace("{}", text or ""), scenario=scenario, type=self.type,
                traits=read_traits(given), source=prompt.source.dataset,
            )  # fmt: skip
        except (ValidationError, KeyError, TypeError, AttributeError) as error:
            raise Rejected("bad_condition", f"columns of {self.name}: {str(error)[:200]}") from None


def _words(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def read_traits(given: Any) -> tuple[Trait, ...]:
    """Traits from a list of {name, value, importance, kind}, or PREFDISCO's mapping name -> {value, local_importance,
    type}, or name -> weight. Raises ValidationError, KeyError, TypeError or AttributeError otherwise."""
    if isinstance(given, Mapping):
        given = [
            {"name": name, **(fields if isinstance(fields, Mapping) else {"importance": fields})}
            for name, fields in given.items()
        ]
    return tuple([
        Trait(
            name=item["name"], value=str(item.get("value", item.get("description", ""))),
            importance=item.get("importance", item.get("local_importance", item.get("weight", 1.0))),
            kind=item.get("kind", item.get("type")),
        )
        for item in given
    ])  # fmt: skip


def context_id(context: Held) -> str:
    """Identity of a context (spec pairs 17.1)."""
    attributes = sorted([[a.name, a.value, a.importance, a.kind] for a in context.attributes], key=str)
    return ids.content_hash(context.type, context.text, attributes)


def in_context(messages: Sequence[Message], context: Held | None) -> tuple[Message, ...]:
    """The prompt as it is asked under `context`."""
    if context is None:
        return tuple(messages)
    if context.placement == "system":
        return with_system(context.text, messages)
    last = max(i for i, m in enumerate(messages) if m.role == "user")
    asked = messages[last].content
    text = f"{context.text}\n\n{asked}" if context.placement == "before" else f"{asked} {context.text}"
    return (*messages[:last], replace(messages[last], content=text), *messages[last + 1 :])


class _Kept(Struct, frozen=True):
    made: Making
    contexts: tuple[Held, ...] = ()


class Sided(NamedTuple):
    """An answer with the condition it was made for."""

    candidate: Candidate
    role: str
    sample: int
    contexts: tuple[Held, ...]


def group_id(prompt: Prompt, conditions: Sequence[Condition]) -> str:
    """Identity of the answers of one prompt to one set of conditions, whichever job made them."""
    said = [[c.name, *[context_id(context) for context in c.contexts("system")]] for c in conditions]
    return ids.content_hash("contexts/1", prompt.prompt_id, said)


def sided(
    prompt: Prompt, text: str, held: tuple[str, str, int, tuple[Held, ...]], ctx: Context, **columns: Any
) -> Candidate:  # fmt: skip
    """A candidate that carries its condition; `held`: group, role, sample, contexts."""
    group, role, sample, contexts = held
    making = Making(WAY, None, group, role, {"sample": sample})
    made = constructed(prompt, text, making, ctx, sample_idx=sample, **columns)
    return replace(made, ext_json=msgspec.json.encode(_Kept(making, contexts), order="deterministic").decode())


def groups(candidates: Sequence[Candidate], jobs: Collection[str]) -> dict[str, list[Sided]]:
    """Finished answers by group, in an order that is theirs (role, sample, id) and not that of arrival. jobs: that made
    them; none: all."""
    found: dict[str, list[Sided]] = {}
    for candidate in candidates:
        if candidate.ext_json is None or '"contexts"' not in candidate.ext_json or (jobs and candidate.job not in jobs):
            continue
        try:
            kept = msgspec.json.decode(candidate.ext_json, type=_Kept)
        except (msgspec.ValidationError, msgspec.DecodeError):  # another stage's or source's own column
            continue
        if kept.made.way == WAY and candidate.text.strip() and candidate.finish_reason in FINISHED:
            sample = int(kept.made.detail.get("sample", 0))
            one = Sided(candidate, kept.made.role or "", sample, kept.contexts)
            found.setdefault(kept.made.group or "", []).append(one)
    for group in found.values():
        group.sort(key=lambda one: (one.role, one.sample, one.candidate.candidate_id))
    return dict(sorted(found.items()))


def opposed(group: Sequence[Sided]) -> Iterator[tuple[Sided, Sided]]:
    """Every two answers of different roles, of the same job and sample."""
    for a, b in itertools.combinations(group, 2):
        if a.role != b.role and a.sample == b.sample and a.candidate.job == b.candidate.job:
            yield a, b
