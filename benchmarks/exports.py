"""What an export costs beside writing: each format's rows from records in memory to files on disk, against plain pyarrow
writing the same columns out of Python objects, with the same compression. Turns alternate; the best of each counts."""

from __future__ import annotations

import asyncio
import functools
import gc
import itertools
import random
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
from msgspec.structs import replace

from benchmarks.figures import Figure
from pipeline import ids
from pipeline.pair import Pair, Score
from pipeline.records import Candidate, Message, Prompt, Rationale, Record
from pipeline.stage import FIELD_OF, Context, Example
from pipeline.store import ROW_GROUP, Store
from pipeline.tables import arrow_schema
from pipeline.tree import Fork, Node, RankedAnswer, Ranking, Trace, Tree
from stages.exports.export import Export
from stages.exports.formats import format_names
from stages.pairs.build import response_pair

PROMPTS, SHARD, ROUNDS = 4096, 1024, 5
VOCABULARY = 3000  # words, the k-th drawn k times less often than the first; answers have about 1,200 characters


def run() -> list[Figure]:
    """One figure for each format, and the least of them."""
    gc.set_threshold(100_000, 50, 100)  # as in a worker
    draw = random.Random(7)
    examples = [_example(draw) for _ in range(PROMPTS)]
    found = [_figure(name, examples) for name in format_names()]
    least = min(found, key=lambda figure: figure.value)
    beside = {"format": least.name.removeprefix("export_vs_pyarrow_"), "formats": len(found)}
    return [*found, Figure("export_vs_pyarrow_min", least.value, "of pyarrow's rows/CPU-s", ">= 0.5", beside)]


def _figure(name: str, examples: Sequence[Example[Any]]) -> Figure:
    shards = [examples[at : at + SHARD] for at in range(0, len(examples), SHARD)]
    stage = Export.model_validate({"format": name})
    row = stage.makes()[0]
    rows = [record for shard in shards for record in _rows(stage, shard)]
    assert all(type(record) is row for record in rows)
    with tempfile.TemporaryDirectory() as folder:
        store, schema, plain = Store(folder), arrow_schema(row), [msgspec.to_builtins(record) for record in rows]
        size = len(plain) // len(shards)

        def ours() -> None:
            for i, shard in enumerate(shards):
                store.write("export", i, {row: _rows(stage, shard)}, {})

        def theirs() -> None:
            for at in range(0, len(plain), size):
                table = pa.Table.from_pylist(plain[at : at + size], schema=schema)
                pq.write_table(table, f"{folder}/{at}.parquet", compression="zstd", row_group_size=ROW_GROUP)

        times = [(_seconds(ours), _seconds(theirs)) for _ in range(ROUNDS)]
        written = sum(file.stat().st_size for file in (Path(folder) / "export").glob("*.parquet"))
    own, other = (min(each) for each in zip(*times, strict=True))
    beside = {
        "rows_per_cpu_second": round(len(rows) / own), "pyarrow_rows_per_cpu_second": round(len(rows) / other),
        "bytes_per_row": round(written / len(rows)), "rows": len(rows),
    }  # fmt: skip
    title = f"export_vs_pyarrow_{name.replace('-', '_')}"
    return Figure(title, round(other / own, 3), "of pyarrow's rows/CPU-s", ">= 0.5", beside)


def _rows(stage: Export, examples: Sequence[Example[Any]]) -> list[Record]:
    fields = [FIELD_OF[cls] for cls in stage.needs()]  # what the worker would read
    given: list[Example[Any]] = [Example(e.prompt, **{field: getattr(e, field) for field in fields}) for e in examples]

    async def all_of() -> list[Record]:
        ctx = Context("export", "run", 7, "f" * 32, {})
        return [row for example in given for row in await stage.process(example, ctx)]

    return asyncio.run(all_of())


def _seconds(work: Callable[[], object]) -> float:
    """CPU seconds, which others on the machine do not change."""
    start = time.process_time()
    work()
    return time.process_time() - start


def _text(draw: random.Random, n: int) -> str:
    words, weights = _words()
    return " ".join(draw.choices(words, cum_weights=weights, k=n)) + f" {draw.randrange(10**9)}."


@functools.cache
def _words() -> tuple[list[str], list[float]]:
    """Made-up words and their cumulated frequencies."""
    draw = random.Random(1)
    words = ["".join(draw.choices("etaoinshrdlu", k=draw.randint(2, 9))) for _ in range(VOCABULARY)]
    return words, list(itertools.accumulate(1 / k for k in range(1, VOCABULARY + 1)))


def _example(draw: random.Random) -> Example[Any]:
    """A prompt with what every format carries: a quad, a rationale, a tree with a trace, a list and a thumb."""
    asked = [(Message("user", _text(draw, 40)),) for _ in range(2)]
    prompt = Prompt(ids.prompt_id(asked[0]), ids.prompt_id(asked[0]), asked[0])
    texts = [_text(draw, 200) for _ in range(2)]
    answers = [Candidate(prompt.prompt_id, ids.content_hash(text), text, "generate") for text in texts]
    fork = Fork("t", "0", "1", "2", 0, prompt_token_ids=tuple(range(40)),
                chosen_token_ids=(1, *range(150)), rejected_token_ids=(2, *range(150)))  # fmt: skip
    columns: dict[str, Any] = {
        "label_source": "judge", "chosen_score": 0.9, "rejected_score": 0.2, "margin_logit": 1.5, "strength": 2.0,
        "strength_std": 0.5, "strength_signed_int": 2, "tree": fork, "group_id": prompt.prompt_id, "group_size": 2,
        "scores": (Score("chosen", "j", None, 9, 0.9, 0, 10, 1, 0), Score("rejected", "j", None, 2, 0.2, 0, 10, 1, 0)),
    }  # fmt: skip
    pairs = [response_pair("mapl_inter", prompt, *arms, **columns) for arms in (answers, answers[::-1])]
    second = {"prompt_messages": asked[1], "unordered_id": pairs[0].pair_id}
    pairs[1] = replace(pairs[1], **second, chosen_score=0.9)
    steps = tuple([f"{_text(draw, 30)}\n" for _ in range(4)])
    of: dict[str, Any] = {"prompt_id": prompt.prompt_id, "tree_id": "t"}
    ranked = [RankedAnswer(i, steps, (), 1.0 - i, 1 - 2 * i, 1.0 if i == 0 else None, 0) for i in range(2)]
    return Example(
        prompt, pairs=pairs, rationales=[_why(pair, _text(draw, 60)) for pair in pairs],
        trees=[Tree(**of, job="search", config_json='{"delimiters": ["\\n"]}')],
        nodes=[Node(**of, node_id=i, is_terminal=True, finish_reason="eos") for i in range(2)],
        traces=[Trace(**of, trace_id="t", leaf_id=1, steps=steps, soft=(1.0,) * 4, hard=(1,) * 4, outcome=1)],
        rankings=[Ranking(**of, ranking_id="r", prompt_token_ids=(), answers=tuple(ranked))],
    )  # fmt: skip


def _why(pair: Pair, text: str) -> Rationale:
    return Rationale(
        pair.prompt_id, pair.pair_id, pair.pair_id, "explain", None, None, "detailed", "free", False, 0, "m", 0, "ok",
        statement="Response A is better.", text=f"Response A says {text}",
    )  # fmt: skip
