"""Pairs as dataset stages see them: what was noted of each, the groups that stand or fall together, and verdicts. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from msgspec import Struct

from pipeline import ids
from pipeline.dataset import Columns, Verdict
from pipeline.pair import Generation, Pair
from pipeline.records import Message
from pipeline.stage import Example
from stages.curate.hashing import digest, spaced
from stages.curate.near import strings
from stages.exports.choice import AUTHORITY


class Noted(Struct, frozen=True, gc=False):
    """What is known of one pair; texts as 64-bit hashes."""

    shard: int
    prompt_id: str
    pair_id: str
    base: str  # base_prompt_id
    cluster: str  # of near-duplicate prompts; the base prompt where none is known
    kind: str
    group: str  # group_id, or the pair's own id
    group_size: int
    models: str  # of chosen and rejected
    rater: str
    authority: int  # of the label's source: 0 is believed before 1 (spec pairs V14)
    strength: float  # how clear the preference is; more is clearer, 0 where nothing says so
    winner: int  # the chosen arm with its history, under its context
    loser: int
    chosen_text: int  # what the assistant says in the chosen arm
    longer: int  # 1: the chosen arm is the longer one, -1: the rejected, 0: neither


def note_pairs(examples: Sequence[Example[Any]]) -> Columns:
    """One row per pair; of pairs with the same id in a prompt, the first."""
    rows = [_noted(pair, e.cluster) for e in examples for pair in {p.pair_id: p for p in reversed(e.pairs)}.values()]
    return {name: strings([getattr(row, name) for row in rows]) for name in Noted.__struct_fields__ if name != "shard"}


def noted_pairs(columns: Columns) -> list[Noted]:
    """The rows of what `note_pairs` gave, in the order of the shards and of their ids."""
    named = [columns[name].tolist() for name in Noted.__struct_fields__]
    rows = [Noted(*values) for values in zip(*named, strict=True)]
    return sorted(rows, key=lambda row: (row.shard, row.prompt_id, row.pair_id))


def _noted(pair: Pair, cluster: str | None) -> Noted:
    chosen, rejected = _arm(pair, True), _arm(pair, False)
    if chosen == rejected:  # arms that differ in white space alone
        chosen, rejected = repr(pair.chosen_messages), repr(pair.rejected_messages)
    sure = None if pair.pref_prob is None else 2 * pair.pref_prob - 1
    clear = next((found for found in (pair.strength, pair.score_gap, sure) if found is not None), 0.0)
    return Noted(
        shard=-1,
        prompt_id=pair.prompt_id,
        pair_id=pair.pair_id,
        base=pair.base_prompt_id,
        cluster=cluster or pair.base_prompt_id,
        kind=pair.kind,
        group=pair.group_id if pair.group_id and pair.group_size else pair.pair_id,
        group_size=pair.group_size or 1,
        models=f"{_model(pair.chosen_gen)} > {_model(pair.rejected_gen)}",
        rater=pair.rater.rater_id if pair.rater else "",
        authority=AUTHORITY.index(pair.label_source) if pair.label_source in AUTHORITY else len(AUTHORITY),
        strength=abs(clear),
        winner=digest(pair.context_id or "", chosen),
        loser=digest(pair.context_id or "", rejected),
        chosen_text=digest(spaced((pair.assistant_prefix or "") + _said(pair.chosen_messages))),
        longer=_longer(pair),
    )


def _arm(pair: Pair, is_chosen: bool) -> str:
    """A side with its whole history, white space evened out."""
    asked = pair.prompt_messages if is_chosen else pair.rejected_prompt_messages or pair.prompt_messages
    said = pair.chosen_messages if is_chosen else pair.rejected_messages
    turns = [f"{m.role}\x1f{spaced(m.content)}" for m in asked]
    return "\x1e".join((*turns, spaced((pair.assistant_prefix or "") + _said(said))))


def _said(messages: Sequence[Message]) -> str:
    return "\n".join(m.content for m in messages)


def _model(made: Generation | None) -> str:
    return (made.model if made else None) or "?"


def _longer(pair: Pair) -> int:
    """By tokens where both arms have a count, else by characters."""
    a, b = [made.n_tokens if made else None for made in (pair.chosen_gen, pair.rejected_gen)]
    if a is None or b is None:
        a, b = len(_said(pair.chosen_messages)), len(_said(pair.rejected_messages))
    return (a > b) - (a < b)


class Survivors:
    """The pairs of a dataset and why some were dropped. Groups are dropped whole (spec pairs V13)."""

    def __init__(self, pairs: Sequence[Noted], seed: int) -> None:
        self.pairs = pairs
        self.reasons: dict[int, str] = {}  # place in `pairs` -> reason
        self._draw = [ids.seed(seed, "curate", pair.group) for pair in pairs]

    def left(self) -> list[int]:
        """Places of the pairs that are still there."""
        return [i for i in range(len(self.pairs)) if i not in self.reasons]

    def drop(self, places: Iterable[int], reason: str) -> None:
        """Drops pairs; what was dropped before keeps its reason."""
        for i in places:
            self.reasons.setdefault(i, reason)

    def drop_broken_groups(self) -> None:
        """Drops the rest of every group that lost a member, or never had all of them."""
        for members in self.groups():
            if len(members) != self.pairs[members[0]].group_size:
                self.drop(members, "incomplete_group")

    def groups(self) -> list[list[int]]:
        """What is left, as groups that stand or fall together; most pairs are a group of their own."""
        found: dict[str | int, list[int]] = {}
        for i in self.left():
            found.setdefault(self.pairs[i].group if self.pairs[i].group_size > 1 else i, []).append(i)
        return list(found.values())

    def by_strength(self, members: Sequence[int]) -> tuple[int, float, int, str]:
        """Sort key of a group: best authority and clearest preference first, equals by a draw of their id."""
        best = min(members, key=lambda i: (self.pairs[i].authority, -self.pairs[i].strength))
        return self.pairs[best].authority, -self.pairs[best].strength, *self.by_draw(members)

    def by_draw(self, members: Sequence[int]) -> tuple[int, str]:
        """Sort key of a group: a seeded draw that depends on nothing but its id."""
        return self._draw[members[0]], self.pairs[members[0]].group

    def cap(self, key: Callable[[Noted], str], limit: int, reason: str, order: Callable[[Sequence[int]], Any]) -> None:
        """Keeps at most `limit` pairs with the same key, those first in `order`; a group needs room for all its pairs."""
        room: dict[str, int] = {}
        for members in sorted(self.groups(), key=order):
            wanted: dict[str, int] = {}
            for i in members:
                wanted[key(self.pairs[i])] = wanted.get(key(self.pairs[i]), 0) + 1
            if all(room.get(name, limit) >= n for name, n in wanted.items()):
                for name, n in wanted.items():
                    room[name] = room.get(name, limit) - n
            else:
                self.drop(members, reason)

    def verdicts(self, job: str, n_shards: int) -> list[list[Verdict]]:
        """One for each pair, by shard."""
        found: list[list[Verdict]] = [[] for _ in range(n_shards)]
        for i, p in enumerate(self.pairs):
            reason = self.reasons.get(i)
            found[p.shard].append(Verdict(p.prompt_id, job, "pair", p.pair_id, reason is None, reason))
        return found


def prompt_verdicts(
    job: str, columns: Columns, dropped: Mapping[int, str], clusters: Sequence[str] | None = None
) -> Iterator[tuple[int, Verdict]]:
    """(shard, verdict) of each noted prompt; dropped: row of the columns -> reason."""
    shards, names = columns["shard"].tolist(), columns["prompt_id"].tolist()
    for i, (shard, name) in enumerate(zip(shards, names, strict=True)):
        reason = dropped.get(i)
        cluster = clusters[i] if clusters is not None else None
        yield shard, Verdict(name, job, "prompt", name, reason is None, reason, cluster)


def together(parts: Collection[Sequence[Sequence[Verdict]]]) -> Iterator[list[Verdict]]:
    """Verdicts of several subjects, shard by shard."""
    for lists in zip(*parts, strict=True):
        yield [verdict for verdicts in lists for verdict in verdicts]
