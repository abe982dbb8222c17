"""Balance: caps per prompt, kind and pair of models, no tell-tale length, and a mixture with shares or counts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from pydantic import Field, model_validator

from pipeline.dataset import Dataset, DatasetStage, Verdict
from pipeline.pair import Pair
from pipeline.stage import Context
from stages.curate.amounts import Part, amounts, why_not
from stages.curate.balancing import drop_longer, parted, take
from stages.curate.notes import Survivors, note_pairs, noted_pairs

ALL = {"all": Part(share=1.0)}


class Balance(DatasetStage):
    """Order and reasons: `incomplete_group`, `over_prompt_kind_cap`, `over_prompt_cap`, `over_model_pair_cap`,
    `over_kind_cap`, `length_gap`, `mixture` (docs/curation.md).

    The caps of a prompt keep the clearest pairs; those of models and kinds, the length and the mixture draw by the
    run's seed, so that they change no other share. Groups are kept or dropped whole.
    """

    version: ClassVar[int] = 2

    per_prompt_and_kind: int | None = Field(4, ge=1)  # of a base prompt
    per_prompt: int | None = Field(12, ge=1)
    per_model_pair: int | None = Field(None, ge=1)  # pairs with the same models behind chosen and rejected
    per_kind: int | None = Field(None, ge=1)
    longer_chosen: tuple[float, float] | None = (0.4, 0.6)  # share of pairs whose chosen arm is the longer one
    mixture: dict[str, Part] = Field(default_factory=dict)
    total: int | None = Field(None, ge=1)  # pairs of a mixture with shares; default: as many as keep them exact

    @model_validator(mode="after")
    def _makes_sense(self) -> Balance:
        if why := why_not(list(self.mixture.values()), self.total):
            raise ValueError(f"mixture: {why}")
        named = [
            kind for part in self.mixture.values() for kind in (part.kinds if part.kinds != "other" else ("other",))
        ]
        if twice := {kind for kind in named if named.count(kind) > 1}:
            raise ValueError(f"mixture: {', '.join(sorted(twice))} stands in two parts")
        if self.total is not None and not self.mixture:
            raise ValueError("total goes with a mixture")
        if self.longer_chosen and not 0 < self.longer_chosen[0] <= self.longer_chosen[1] < 1:
            raise ValueError("longer_chosen is [lowest, highest], between 0 and 1")
        return self

    def decide(self, data: Dataset[Pair], ctx: Context) -> Iterator[list[Verdict]]:
        """A verdict on every pair."""
        found = Survivors(noted_pairs(data.map(note_pairs)), ctx.run_seed)
        found.drop_broken_groups()
        self._cap(found)
        parts = parted(found, self.mixture or ALL)
        self._even(found, parts, ctx)
        if self.mixture:
            left = {name: sum(len(m) for m in groups if m[0] not in found.reasons) for name, groups in parts.items()}
            wanted = amounts(left, self.mixture, self.total)
            for name, groups in parts.items():
                take(found, groups, wanted[name])
            self._even(found, parts, ctx)
        for name, groups in parts.items():
            ctx.count(f"part:{name}", sum(len(m) for m in groups if m[0] not in found.reasons))
        return iter(found.verdicts(ctx.job, data.n_shards))

    def _cap(self, found: Survivors) -> None:
        caps = (
            (self.per_prompt_and_kind, lambda p: f"{p.base} {p.kind}", "over_prompt_kind_cap", found.by_strength),
            (self.per_prompt, lambda p: p.base, "over_prompt_cap", found.by_strength),
            (self.per_model_pair, lambda p: p.models, "over_model_pair_cap", found.by_draw),
            (self.per_kind, lambda p: p.kind, "over_kind_cap", found.by_draw),
        )
        for limit, key, reason, order in caps:
            if limit is not None:
                found.cap(key, limit, reason, order)

    def _even(self, found: Survivors, parts: dict[str, list[list[int]]], ctx: Context) -> None:
        """Length control in each part: shares within bounds add up to one within bounds."""
        for name, groups in parts.items():
            if self.longer_chosen and not drop_longer(found, groups, self.longer_chosen):
                ctx.counts[f"length_not_evened:{name}"] = 1
