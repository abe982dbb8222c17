"""Contamination: rows that repeat items of benchmarks are dropped, or marked, and counted per benchmark."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

from msgspec.structs import replace
from pydantic import Field, computed_field

from pipeline.dataset import Columns, Dataset, DatasetStage, Verdict
from pipeline.pair import Pair
from pipeline.records import Rationale, Record
from pipeline.stage import Context, Example
from stages.curate.benchmarks import ItemList
from stages.curate.near import compared, strings
from stages.curate.notes import Survivors, note_pairs, noted_pairs, prompt_verdicts, together
from stages.curate.overlap import Benchmark, hits

REASON = "contaminated"


class Decontaminate(DatasetStage):
    """Prompts are looked at, and of pairs and rationales every text that was written (docs/curation.md).

    A prompt that hits takes all prompts of its base prompt along; a pair takes its group (`incomplete_group`).
    """

    not_identity: ClassVar[frozenset[str]] = frozenset({"lists"})  # their columns and contents are
    where_made: ClassVar[frozenset[type[Record]]] = frozenset({Pair, Rationale})

    lists: dict[str, ItemList] = Field(min_length=1)  # by the name of the benchmark
    drop: bool = True  # false: hits are only noted (`decontam_hits` of the pairs)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def contents(self) -> dict[str, str]:
        """A hash of each list and its columns, for the recipe."""
        return {name: f"{each.reader().content()} {', '.join(each.columns)}" for name, each in self.lists.items()}

    def check(self) -> None:
        """Raises PlanError for a list that is not there, or has no such column."""
        for name, each in self.lists.items():
            each.check(name)

    def decide(self, data: Dataset[Pair | Rationale], ctx: Context) -> Iterator[list[Verdict]]:
        """A verdict on every prompt, pair and rationale."""
        benchmarks = [each.load(name) for name, each in sorted(self.lists.items())]
        prompts = data.map(functools.partial(note_prompt_hits, benchmarks=benchmarks))
        of_base: dict[str, set[str]] = {}
        for base, found in zip(prompts["base"].tolist(), prompts["hits"].tolist(), strict=True):
            of_base.setdefault(base, set()).update(found.split())
        hit = [tuple(sorted(of_base[base])) for base in prompts["base"].tolist()]
        dropped = {i: REASON for i, names in enumerate(hit) if names and self.drop}
        prompt_rows: list[list[Verdict]] = [[] for _ in range(data.n_shards)]
        for (shard, verdict), names in zip(prompt_verdicts(ctx.job, prompts, dropped), hit, strict=True):
            prompt_rows[shard].append(replace(verdict, hits=names or None))
        gone = {str(prompts["prompt_id"][i]) for i in dropped}
        texts = data.map(functools.partial(note_text_hits, benchmarks=benchmarks))
        return together([prompt_rows, self._pairs(data, texts, gone, ctx), self._rationales(data, texts, gone, ctx)])

    def _pairs(self, data: Dataset[Any], texts: Columns, gone: set[str], ctx: Context) -> list[list[Verdict]]:
        pairs = [p for p in noted_pairs(data.map(note_pairs)) if p.prompt_id not in gone]
        found = Survivors(pairs, ctx.run_seed)
        columns = (texts[name].tolist() for name in ("subject", "shard", "id", "hits"))
        hit = {(shard, id_): tuple(names.split()) for subject, shard, id_, names in zip(*columns, strict=True)
               if subject == "pair" and names}  # fmt: skip
        if self.drop:
            found.drop([i for i, p in enumerate(pairs) if (p.shard, p.pair_id) in hit], REASON)
            found.drop_broken_groups()
        rows = found.verdicts(ctx.job, data.n_shards)
        return [[replace(v, hits=hit.get((shard, v.subject_id))) for v in of] for shard, of in enumerate(rows)]

    def _rationales(self, data: Dataset[Any], texts: Columns, gone: set[str], ctx: Context) -> list[list[Verdict]]:
        rows: list[list[Verdict]] = [[] for _ in range(data.n_shards)]
        columns = (texts[name].tolist() for name in ("subject", "shard", "prompt_id", "id", "hits"))
        for subject, shard, prompt_id, id_, names in zip(*columns, strict=True):
            if subject == "rationale" and prompt_id not in gone:
                keep = not (names and self.drop)
                found = tuple(names.split()) or None
                rows[shard].append(
                    Verdict(prompt_id, ctx.job, subject, id_, keep, None if keep else REASON, hits=found)
                )
        return rows


def note_prompt_hits(examples: Sequence[Example[Any]], benchmarks: Sequence[Benchmark]) -> Columns:
    """Of each prompt: ids, and the benchmarks it hits (its turns as one text, or the last alone), blanks between."""
    prompts = [e.prompt for e in examples]
    whole = hits([compared(p) for p in prompts], benchmarks, whole=True)
    last = hits([p.text for p in prompts], benchmarks, whole=True)
    found = [" ".join(sorted({*a, *b})) for a, b in zip(whole, last, strict=True)]
    return {
        "prompt_id": strings([p.prompt_id for p in prompts]),
        "base": strings([p.base_prompt_id for p in prompts]),
        "hits": strings(found),
    }


def note_text_hits(examples: Sequence[Example[Any]], benchmarks: Sequence[Benchmark]) -> Columns:
    """Of each pair and rationale: subject, ids, and the benchmarks that any of its texts hits."""
    items = [("pair", p.prompt_id, p.pair_id, _written(p)) for e in examples for p in e.pairs]
    items += [("rationale", r.prompt_id, r.rationale_id, [r.text or ""]) for e in examples for r in e.rationales]
    found = iter(hits([text for *_, texts in items for text in texts], benchmarks, whole=False))
    names = [" ".join(sorted({name for _ in texts for name in next(found)})) for *_, texts in items]
    return {
        "subject": strings([subject for subject, *_ in items]),
        "prompt_id": strings([prompt_id for _, prompt_id, *_ in items]),
        "id": strings([id_ for _, _, id_, _ in items]),
        "hits": strings(names),
    }


def _written(pair: Pair) -> list[str]:
    """All texts of a pair: its prompts (which may differ from the base prompt), both arms, tails and rationales."""
    prompts = (pair.prompt_messages, pair.rejected_prompt_messages or ())
    asked = ["\n".join(m.content for m in messages if m.role != "system") for messages in prompts]
    said = [m.content for m in (*pair.chosen_messages, *pair.rejected_messages)]
    more = (pair.chosen_tail, pair.rejected_tail, pair.rationale, pair.rationale_chosen, pair.rationale_rejected)
    return [*asked, *said, pair.assistant_prefix or "", *[text for text in more if text]]
