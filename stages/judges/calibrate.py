"""calibrate: how good the judges upstream are, measured on gold items (spec judges C3).

Its table holds one row per judge and item; when the job is complete, `calibration.json` and `report.html` lie beside it.
`prefsynth calibrate` runs it after the source `gold`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, ClassVar

import msgspec
from pydantic import Field

from pipeline.errors import RunError
from pipeline.records import Candidate, Judgment, Prompt
from pipeline.stage import Context, Example, Stage, Summary
from stages.judges.calibration_report import report
from stages.judges.evidence import gather, judge_name
from stages.judges.juries import figures, out_of_sample
from stages.judges.measure import GoldVerdict, Rules, fit, items_of

TRUTH = {"a": 1, "b": -1, "tie": 0}


class Calibrate(Stage):
    """Measures every judge upstream, recorded or live.

    shrink: gold items that the accuracy of all judges is worth when a judge's own is estimated.
    disable_below: a judge is disabled unless the lower Wilson bound (one-sided 95 %) of its accuracy is above this.
    """

    shrink: float = Field(20, ge=0)
    disable_below: float = Field(0.5, ge=0, lt=1)
    version: ClassVar[int] = 1

    async def process(self, example: Example[Candidate | Judgment], ctx: Context) -> list[GoldVerdict]:
        """One row per judge that was asked about this item. Counts `unlabelled` and `unjudged` items."""
        gold = _gold(example.prompt)
        sides = sorted(example.candidates, key=lambda c: c.sample_idx)
        if gold.get("label") not in TRUTH or len(sides) != 2:
            ctx.count("unlabelled")
            return []
        evidence = gather(sides, example.judgments, own_too=True)
        if not evidence.judges:
            ctx.count("unjudged")
        calls: dict[str, list[str]] = {}
        for judgment in example.judgments:
            if judgment.status != "na":
                calls.setdefault(judge_name(judgment), []).append(judgment.status)
        return [
            GoldVerdict(
                prompt_id=example.prompt.prompt_id,
                job=judge.job,
                judge=judge.name,
                judge_id=judge.judge_id,
                kind=judge.kind,
                template_hash=judge.template_hash,
                truth=TRUTH[gold["label"]],
                length_gap=len(sides[0].text) - len(sides[1].text),
                domain=gold.get("domain"),
                adversarial=bool(gold.get("adversarial")),
                ab=_number(evidence.ab[k, 0]),
                ba=_number(evidence.ba[k, 0]),
                gap=_number(evidence.gap[k, 0]),
                hard=bool(evidence.hard[k, 0]),
                calls=len(calls.get(judge.name, ())),
                ok=calls.get(judge.name, []).count("ok"),
                refused=calls.get(judge.name, []).count("refused"),
            )
            for k, judge in enumerate(evidence.judges)
        ]

    def finish(self, summary: Summary) -> dict[str, str]:
        """The calibration and its report. Raises RunError when no item has a label and a verdict."""
        rows: list[GoldVerdict] = summary.read()
        if not rows:
            raise RunError(
                f"job {summary.job}: no gold item has both a label and a verdict ({dict(summary.counts[summary.job])}); "
                "record verdicts in the file or give judging jobs"
            )
        rules = Rules(self.shrink, self.disable_below)
        items = items_of(rows)
        juries = out_of_sample(items, rules)
        calibration = fit(items, rules)
        calibration = calibration.model_copy(update={"jury": figures(items, calibration, juries)})
        text = json.dumps(calibration.model_dump(mode="json"), indent=1, ensure_ascii=False)
        return {"calibration.json": f"{text}\n", "report.html": report(items, calibration, juries)}


def _gold(prompt: Prompt) -> Mapping[str, Any]:
    """What the source `gold` kept beside the prompt."""
    kept = msgspec.json.decode(prompt.ext_json) if prompt.ext_json else {}
    return kept if isinstance(kept, dict) else {}


def _number(value: float) -> float | None:
    return float(value) if value == value else None
