"""Instruction-level pairs without a model: how fast, how many of each kind, and whether every label is true.

The rows are checked three times: by the stage, by another process that reads them from their file, and against IFEval's own
rules (`ifeval_rules`). Takes the recorded responses of the public test data beside the project; without them, no figures.
"""

from __future__ import annotations

import asyncio
import collections
import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.figures import ROOT, Figure
from benchmarks.ifeval_rules import IFEVAL_RULES, second_opinion
from benchmarks.response_pairs import ResponsePair, response_pairs, rows_of
from pipeline import ids
from pipeline.pair import Constraint, Pair
from pipeline.records import Candidate, Message, Prompt
from pipeline.stage import Context, Example
from stages.constraints.instruction import Instruction, read_instructions
from stages.pairs.instruction_kinds import KINDS
from stages.pairs.pair_instructions import PairInstructions
from stages.pairs.recheck import why_untrue

WANTED_PAIRS = 5000
SEED = 7
_NUMBERS = "zero one two three four five six seven eight nine ten eleven twelve".split()


def run() -> list[Figure]:
    """Speed and yield over 5,000 recorded response pairs, and agreement of the checkers."""
    found = response_pairs(WANTED_PAIRS)
    if not found:
        print(f"instructions: no recorded responses at {ROOT / '../shared/data'}; nothing measured")
        return []
    rows, per_kind, seconds = _made(found)
    return [
        Figure(
            "instruction_pairs_per_cpu_second", round(len(rows) / seconds, 1), "rows/s", "",
            {"response pairs": len(found), "rows": len(rows), "response pairs per s": round(len(found) / seconds, 1)},
        ),
        *[Figure(f"instruction_derivable_{kind}", round(n / len(found), 4), "share of response pairs", "")
          for kind, n in per_kind.items()],
        _reverified(rows),
        _agreement_on_rows(rows),
        _shortcut(rows),
        *_recorded(found),
    ]  # fmt: skip


def _example(one: ResponsePair) -> Example[Any]:
    messages = (Message("user", one.prompt),)
    name = ids.prompt_id(messages)
    texts = (one.one, one.other)
    candidates = [Candidate(name, ids.content_hash("cand/1", name, text), text, "recorded") for text in texts]
    return Example(Prompt(name, name, messages), candidates)


def _made(found: Sequence[ResponsePair]) -> tuple[list[Pair], dict[str, int], float]:
    """All rows, from how many response pairs each kind made some, and CPU seconds."""
    stage, ctx = PairInstructions(max_total=100), Context("instructions", "bench", SEED, "0" * 32, {})
    examples = [_example(one) for one in found]

    async def all_rows() -> list[list[Pair]]:
        return [[r for r in await stage.process(e, ctx) if isinstance(r, Pair)] for e in examples]

    started = time.process_time()
    made = asyncio.run(all_rows())
    seconds = time.process_time() - started
    kinds = collections.Counter(kind for rows in made for kind in {row.kind for row in rows})
    return [row for rows in made for row in rows], {kind: kinds[kind] for kind in KINDS}, seconds


def _reverified(rows: Sequence[Pair]) -> Figure:
    """Another process reads the rows from a file and runs every check again."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "rows.jsonl"
        file.write_bytes(b"\n".join([msgspec.json.encode(row) for row in rows]))
        command = [sys.executable, "-m", "benchmarks.instructions", str(file)]
        told = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    untrue = json.loads(told)
    share = 1 - sum(untrue.values()) / len(rows)
    return Figure("instruction_reverified", share, "share of rows", "1.0", {"rows": len(rows), "untrue": untrue})


def reverify(file: Path) -> dict[str, int]:
    """Reason -> number of the rows in `file` that a new run of all checks does not bear out."""
    decode = msgspec.json.Decoder(Pair).decode
    why = [why_untrue(decode(line)) for line in file.read_bytes().split(b"\n")]
    return dict(collections.Counter(reason[0] for reason in why if reason))


def _agreement_on_rows(rows: Sequence[Pair]) -> Figure:
    """Of the stored booleans for which IFEval has a rule, the share that its rule gives as well."""
    same: collections.Counter[str] = collections.Counter()
    asked: collections.Counter[str] = collections.Counter()
    for row in rows:
        for c, text, kept in _answers(row):
            other = second_opinion(c.family, json.loads(c.kwargs_json), text)
            if other is not None:
                asked[c.family] += 1
                same[c.family] += other is kept
    worst = {name: round(same[name] / n, 4) for name, n in asked.items() if same[name] < n}
    beside = {"answers": asked.total(), "families": len(asked), **worst}
    return Figure("instruction_ifeval_agreement", round(same.total() / asked.total(), 5), "share", "1.0", beside)


def _answers(row: Pair) -> Iterator[tuple[Constraint, str, bool | None]]:
    for c in row.constraints or ():
        yield c, row.chosen_messages[0].content, c.chosen_ok
        yield c, row.rejected_messages[0].content, c.rejected_ok


def _shortcut(rows: Sequence[Pair]) -> Figure:
    """How often the winning prompt of mapl_intra can be guessed from wordings alone (odds learnt on the other half)."""
    prompts = [row for row in rows if row.kind == "mapl_intra"]
    halves = [[r for r in prompts if int(r.base_prompt_id[:4], 16) % 2 == side] for side in (0, 1)]
    wins, losses = (
        collections.Counter(w for row in halves[0] for w in _wordings(row, side)) for side in ("chosen", "rejected")
    )
    points = []
    for row in halves[1]:
        better, worse = (
            sum(math.log((wins[w] + 1) / (losses[w] + 1)) for w in _wordings(row, side))
            for side in ("chosen", "rejected")
        )
        points.append(0.5 if better == worse else float(better > worse))
    return Figure(
        "instruction_prompt_shortcut", round(sum(points) / len(points), 4), "accuracy", "0.5", {"n": len(points)}
    )


def _wordings(row: Pair, side: str) -> list[tuple[str, str]]:
    there = [c for c in row.constraints or () if getattr(c, f"in_{side}_prompt")]
    given = [json.loads(c.kwargs_json) for c in there]
    named = [next((str(k[key]) for key in ("relation", "let_relation", "capital_relation", "negated") if key in k), "")
             for k in given]  # fmt: skip
    return [(c.family, name) for c, name in zip(there, named, strict=True)]


def _recorded(found: Sequence[ResponsePair]) -> list[Figure]:
    """IFEval's recorded instructions on recorded responses in many forms: coverage, and agreement family by family."""
    recorded = [
        (row["prompt"], one) for row in rows_of("ifeval_even")
        for one in read_instructions(row["instruction_id_list"], row["kwargs"])
    ]  # fmt: skip
    texts = [form for pair in found[:: len(found) // 40] for form in _forms(pair.one)]
    same: collections.Counter[str] = collections.Counter()
    decided: collections.Counter[str] = collections.Counter()
    kept: collections.Counter[str] = collections.Counter()
    asked: collections.Counter[str] = collections.Counter()
    for _, one in recorded:
        if one.family in IFEVAL_RULES:
            for text in (*texts, *_fitting(one, texts[0])):
                ours, theirs = one.check(text), second_opinion(one.family, one.kwargs, text)
                asked[one.family] += 1
                decided[one.family] += ours is not None
                same[one.family] += ours is not None and ours is theirs
                kept[one.family] += ours is True
    beside: Mapping[str, Any] = {
        name: f"{same[name] / n:.4f} of {n}, {n / asked[name]:.2f} decided, {kept[name]} kept"
        for name, n in sorted(decided.items())
    }
    named = [(value, prompt) for prompt, one in recorded for value in _values(one)]
    said = sum(_says(prompt.lower(), value) for value, prompt in named) / len(named)
    return [
        Figure("instruction_ifeval_ids_covered", 1.0, "share of ids", "1.0",
               {"instructions": len(recorded), "ids": len({one.family for _, one in recorded})}),
        Figure("instruction_ifeval_recorded_agreement", round(same.total() / decided.total(), 5), "share", "", dict(beside)),
        Figure("instruction_ifeval_values_in_prompt", round(said, 4), "share of arguments", "", {"arguments": len(named)}),
    ]  # fmt: skip


def _values(one: Instruction) -> list[Any]:
    """Arguments that a prompt has to name for the instruction to be in it."""
    flat = [v for value in one.kwargs.values() for v in (value if isinstance(value, list) else [value])]
    return [v for v in flat if one.family != "language:response_language" and v not in ("at least", "less than")]


def _says(prompt: str, value: Any) -> bool:
    in_words = _NUMBERS[value] if isinstance(value, int) and value < len(_NUMBERS) else str(value)
    return str(value).lower() in prompt or in_words in prompt


def _forms(text: str) -> list[str]:
    sentences = [part.strip() for part in text.replace("\n", " ").split(". ") if part.strip()]
    return [
        text, text.upper(), text.lower(), text.replace(",", ""), f'"{text}"', f"<<Title>>\n{text}", json.dumps({"a": text}),
        "\n".join(f"* {s}" for s in sentences), "\n***\n".join(sentences), "\n\n".join(sentences), f"{text}\n\nP.S. More.",
        f"{text}\n******\n{text} Again.", " ".join(f"*{s}*" for s in sentences), "My answer is maybe.",
        "\n".join(f"Section {i}\n{s}" for i, s in enumerate(sentences, 1)), f"Dear [name], [place]. {text} P.P.S Bye.",
    ]  # fmt: skip


def _fitting(one: Instruction, text: str) -> list[str]:
    """Texts that name what the instruction names."""
    words = [str(value) for value in _values(one)]
    return [f"{text} {' '.join(words)}", f"{' '.join(words)} {text}", f"{text} {' '.join(words * 12)}"]


if __name__ == "__main__":
    print(json.dumps(reverify(Path(sys.argv[1]))))
