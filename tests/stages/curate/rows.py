"""Prompts and pairs as dataset stages meet them, and what a stage decides about them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from msgspec.structs import replace

from pipeline import ids
from pipeline.dataset import Dataset, DatasetStage, Verdict
from pipeline.pair import Generation, Pair
from pipeline.records import Candidate, Message, Prompt
from pipeline.stage import Context, Example
from stages.pairs.build import response_pair


def prompt_of(text: str, base: str | None = None) -> Prompt:
    messages = (Message("user", text),)
    return Prompt(ids.prompt_id(messages), base or ids.prompt_id(messages), messages)


def answer(prompt: Prompt, text: str) -> Candidate:
    return Candidate(prompt.prompt_id, ids.content_hash(text), text, "generate")


def pair_of(prompt: Prompt, chosen: str, rejected: str, source: str = "judge", **changes: Any) -> Pair:
    kind = changes.pop("kind", "best_worst")
    pair = response_pair(kind, prompt, answer(prompt, chosen), answer(prompt, rejected), label_source=source)
    return replace(pair, **changes)


def made_by(chosen: str, rejected: str) -> dict[str, Any]:
    """Columns that say which models wrote the arms."""
    return {"chosen_gen": Generation("c", chosen), "rejected_gen": Generation("r", rejected)}


def asked(text: str, *pairs: tuple[str, str], base: str | None = None, **changes: Any) -> Example[Any]:
    """A prompt with pairs (chosen, rejected)."""
    prompt = prompt_of(text, base)
    return Example(prompt, pairs=[pair_of(prompt, *arms, **changes) for arms in pairs])


class Decided(NamedTuple):
    """The verdicts of a stage over some examples."""

    verdicts: list[Verdict]
    counts: dict[str, int]

    def reasons(self, subject: str) -> Counter[str]:
        """How often each reason was given; `kept` where there is none."""
        return Counter(v.reason or "kept" for v in self.verdicts if v.subject == subject)

    def of(self, subject_id: str) -> Verdict:
        """The verdict on one row."""
        [found] = [v for v in self.verdicts if v.subject_id == subject_id]
        return found

    def kept(self, examples: Sequence[Example[Any]]) -> list[Pair]:
        """The pairs that stay."""
        stay = {v.subject_id for v in self.verdicts if v.subject == "pair" and v.keep}
        return [pair for example in examples for pair in example.pairs if pair.pair_id in stay]


def decided(stage: DatasetStage, examples: Sequence[Example[Any]], per_shard: int = 3, seed: int = 7) -> Decided:
    """What the stage says of the examples, some to a shard."""
    shards = [examples[i : i + per_shard] for i in range(0, len(examples), per_shard)]
    ctx = Context("curate", "run", seed, "f" * 32, {})
    lists = list(stage.decide(Dataset.of(shards), ctx))
    assert len(lists) == len(shards)
    for verdicts, shard in zip(lists, shards, strict=True):
        assert {v.prompt_id for v in verdicts} <= {e.prompt.prompt_id for e in shard}
    return Decided([v for verdicts in lists for v in verdicts], ctx.counts)
