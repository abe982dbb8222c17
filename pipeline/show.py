"""One prompt and all that was learned about it, as text for a terminal."""

from __future__ import annotations

import sys
import unicodedata
from typing import Any

import msgspec

from pipeline.errors import PlanError
from pipeline.pair import Pair
from pipeline.records import Candidate, Judgment, Prompt, Rationale, Record, Reject
from pipeline.report import open_run


def clean(text: str) -> str:
    """Model text that can be printed: control characters (terminal escapes) are shown, not sent."""
    return "".join(c if c in "\n\t" or unicodedata.category(c)[0] != "C" else f"\\x{ord(c):02x}" for c in text)


def show(path: str, prompt_id: str) -> None:
    """Prints every record of the prompt whose id begins with `prompt_id`. Raises PlanError when none or several do."""
    plan, store, n_shards = open_run(path)
    found = [
        (p, shard)
        for shard in sorted(store.done(plan.source.name))
        for p in store.read(plan.source.name, Prompt, shard, main=True)
        if p.prompt_id.startswith(prompt_id)
    ]
    if len(found) != 1:
        some = ", ".join(p.prompt_id[:12] for p, _ in found[:5])
        hint = f"several begin so: {some}" if found else f"ids stand in {store.path(plan.source.name)}"
        raise PlanError(f"{len(found)} prompts of {path} have an id that begins with {prompt_id!r}; {hint}")
    prompt, shard = found[0]
    for name, job in plan.jobs.items():
        if shard not in store.done(name):
            print(f"\n== {name}: not done yet ({n_shards} shards in all)")
            continue
        made: tuple[type[Record], ...] = (*job.stage.makes(), Reject)
        for cls in made:
            rows: list[Record] = list(store.read(name, cls, shard, main=cls is job.table))
            mine = [r for r in rows if r.prompt_id == prompt.prompt_id]
            if mine:
                print(f"\n== {name}: {len(mine)} {cls.__name__}")
            for row in mine:
                write_record(row)


def write_record(row: Record) -> None:
    """One record as a few readable lines."""
    out = sys.stdout
    for line in describe(row):
        out.write(clean(line) + "\n")


def describe(row: Record) -> list[str]:
    """The lines that tell a record: its own form for the main types, all set fields for others."""
    if isinstance(row, Prompt):
        told = [f"[{row.prompt_id[:12]}] {m.role}: {m.content}" for m in row.messages]
        return [*told, f"reference: {row.reference}"]
    if isinstance(row, Candidate):
        end = f"{row.model or 'given'}, {row.finish_reason or 'given'}, {row.n_tokens or '?'} tokens"
        return [f"[{row.candidate_id[:12]}] ({end})", *_indent(row.text)]
    if isinstance(row, Judgment):
        value = "–" if row.value is None else f"{row.value:.3g} of {row.scale_max:g}"
        said = f"  {row.judge_id} {row.aspect or row.mode} of {', '.join(c[:12] for c in row.cand_ids)}: {value} ({row.status})"
        return [said, *_indent(row.raw_text or "", 6)]
    if isinstance(row, Rationale):
        head = f"[{row.rationale_id[:12]}] {row.kind}, {'post-hoc' if row.label_visible else 'blind'}, {row.status}"
        return [
            head + (f": {row.reject_reason}" if row.reject_reason else ""),
            *_indent(row.text or row.raw_text or ""),
        ]
    if isinstance(row, Pair):
        return [
            f"[{row.pair_id[:12]}] {row.kind}, {row.label_source}, gap {row.score_gap}",
            f"  chosen ({row.chosen_score}):",
            *_indent(row.chosen_messages[-1].content, 6),
            f"  rejected ({row.rejected_score}):",
            *_indent(row.rejected_messages[-1].content, 6),
        ]
    fields: dict[str, Any] = msgspec.to_builtins(row)
    return [f"  {name}: {value}" for name, value in fields.items() if value not in (None, "", [])]


def _indent(text: str, by: int = 4) -> list[str]:
    return [" " * by + line for line in text.splitlines()]
