"""plant_probes: gold items among the prompts, so that `audit` can tell how often each judge is right in this very run.

    - {stage: generate, engine: policy}
    - {stage: plant_probes, path: gold.jsonl}     # the format of docs/calibration.md
    - {stage: rate, engine: judge}

A probe is a prompt of its own with two candidates, of which one is known to be better. Judging jobs behind this one and
`audit` meet it like any prompt; no other job does, so that nothing is ever made of it. Which candidate is better stands
where no template looks.
"""

from __future__ import annotations

import functools
import itertools
from typing import ClassVar, Literal

import msgspec
from pydantic import Field, computed_field

from pipeline import ids
from pipeline.engine import resolve_path
from pipeline.errors import PlanError, Rejected
from pipeline.records import Candidate, Prompt, Source
from pipeline.stage import PROBE, Context, Example, Stage
from stages.pairs.select import same_text
from stages.sources.columns import Row
from stages.sources.gold_rows import gold_records
from stages.sources.readers import open_reader


class PlantProbes(Stage):
    """A probe beside a `share` of the prompts, each item of the gold file as likely as any other. Counts: `planted`.

    path: gold items with a label `a` or `b`; its content is part of the recipe, its place is not. limit: items read.
    Take items that neither trained nor calibrated the judges.
    """

    version: ClassVar[int] = 1
    not_identity: ClassVar[frozenset[str]] = frozenset({"path"})
    planted: ClassVar[Literal["", "makes", "meets"]] = "makes"

    path: str
    share: float = Field(0.02, gt=0, le=1)
    limit: int = Field(10_000, ge=1)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def content(self) -> str:
        """Hash of the file's bytes, for the recipe."""
        return open_reader(self._file).content()

    def check(self) -> None:
        """Raises PlanError: no such file, or no item with a label in it."""
        if not _items(self._file, self.limit):
            raise PlanError(
                f"plant_probes: {self.path} has no gold item with label a or b; docs/calibration.md describes the format"
            )

    @property
    def _file(self) -> str:
        return str(resolve_path(self.path).absolute())

    async def process(self, example: Example[Prompt], ctx: Context) -> list[Prompt | Candidate]:
        """A probe's prompt and its two candidates, or nothing."""
        draw = ids.stream(ctx.run_seed, ctx.job, example.prompt.base_prompt_id)
        if draw.random() >= self.share:
            return []
        ctx.count("planted")
        return _probe(draw.choice(_items(self._file, self.limit)), example.prompt.prompt_id, ctx.job)


@functools.lru_cache(maxsize=2)  # one per process, outside the stage, which travels between processes
def _items(path: str, limit: int) -> tuple[Row, ...]:
    rows = (row for _, row in itertools.islice(open_reader(path).rows(0, 0, ()), limit))
    return tuple([row for row in rows if not isinstance(row, Rejected) and _is_gold(row)])


def _is_gold(row: Row) -> bool:
    try:
        gold_records(row, "", Source(), "", pairs=False)
    except Rejected:
        return False
    texts = str(row["response_a"]), str(row["response_b"])
    return str(row.get("label")).lower() in ("a", "b") and not same_text(*texts)


def _probe(row: Row, beside: str, job: str) -> list[Prompt | Candidate]:
    """The item as records of its own: the same item beside two prompts is two probes."""
    prompt, *made = gold_records(row, job, Source("probe"), "", pairs=False)
    assert isinstance(prompt, Prompt)
    prompt_id = ids.content_hash("probe/1", beside, prompt.prompt_id)
    sides = [
        msgspec.structs.replace(c, prompt_id=prompt_id, candidate_id=ids.content_hash("cand/1", prompt_id, i, c.text))
        for i, c in enumerate(c for c in made if isinstance(c, Candidate))
    ]
    better = sides[0 if str(row["label"]).lower() == "a" else 1].candidate_id
    truth = msgspec.json.encode({PROBE: better}).decode()
    asked = msgspec.structs.replace(prompt, prompt_id=prompt_id, base_prompt_id=prompt_id, split=PROBE, ext_json=truth)
    return [asked, *sides]
