"""The one gate every pair passes: kept, or refused with a reason code. Pure.

Reason codes, in the order they are asked: tie, margin, chosen_low, empty, truncated, identical_text, too_few_judgments,
refusal, length_ratio, too_similar, too_long, identical_truncated. The export adds `duplicate` and `contradiction`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field, model_validator

from pipeline.pair import FilterResult
from pipeline.records import Message
from stages.judges.refusals import declines
from stages.pairs.select import normal_text, same_text
from stages.pairs.truncation import TrainingLength

EPSILON = 1e-9  # 0.9 − 0.8 passes a margin of 0.1
FINISHED = (None, "stop")  # None: given text, of which nobody knows how it ended


class Gate(BaseModel):
    """Further rules of the gate; the config's `gate:` block. A rule left out is not asked."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tokenizer: str | None = None  # of the model to be trained: a folder or a name
    max_length: int | None = Field(None, ge=1)  # of the training, in tokens, prompt included
    min_chars: int = Field(1, ge=1)  # of either arm, without surrounding white space
    refusal: bool = False  # refuse pairs whose chosen arm declines to answer
    length_ratio: float | None = Field(None, ge=1)  # longer arm / shorter arm, in characters, at most
    max_similarity: float | None = Field(None, gt=0, le=1)  # of the arms: Jaccard of character 5-grams, below

    @model_validator(mode="after")
    def _both_or_none(self) -> Gate:
        if (self.tokenizer is None) != (self.max_length is None):
            raise ValueError("tokenizer and max_length belong together: give both or neither")
        return self


class Arm(NamedTuple):
    """What the gate looks at in one side of a pair. `score` on [0, 1]; None where no score was given."""

    text: str
    finish_reason: str | None = None
    score: float | None = None
    n_judgments: int | None = None


class Bounds(NamedTuple):
    """What the scores must satisfy: least gap, least score of the chosen arm, least judgments of each arm."""

    min_margin: float = 0.0
    chosen_min: float | None = None
    min_judgments: int = 0


Refusal = tuple[str, str]  # reason code, and the sentence a reader needs


def why_refused(
    prompt: Sequence[Message], chosen: Arm, rejected: Arm, bounds: Bounds, gate: Gate, length: TrainingLength | None
) -> Refusal | None:
    """None when the pair is kept, else (reason code, detail)."""
    return (
        _score_refusal(chosen, rejected, bounds)
        or text_refusal(chosen, rejected, gate)
        or (length.why_refused(prompt, chosen.text, rejected.text) if length else None)
    )


def _score_refusal(chosen: Arm, rejected: Arm, bounds: Bounds) -> Refusal | None:
    if chosen.score is not None and rejected.score is not None:
        gap = chosen.score - rejected.score
        if abs(gap) < EPSILON:
            return "tie", f"both arms score {chosen.score:.4g}"
        if gap < bounds.min_margin - EPSILON:
            return "margin", f"gap {gap:.4g} is below {bounds.min_margin:g}"
        if bounds.chosen_min is not None and chosen.score < bounds.chosen_min - EPSILON:
            return "chosen_low", f"the chosen arm scores {chosen.score:.4g}, below {bounds.chosen_min:g}"
    counts = [arm.n_judgments for arm in (chosen, rejected) if arm.n_judgments is not None]
    if counts and min(counts) < bounds.min_judgments:
        return "too_few_judgments", f"an arm has {min(counts)} judgments, {bounds.min_judgments} are wanted"
    return None


def text_refusal(chosen: Arm, rejected: Arm, gate: Gate) -> Refusal | None:
    """The rules that need the two texts and nothing else."""
    texts = chosen.text.strip(), rejected.text.strip()
    shorter, longer = sorted((len(texts[0]), len(texts[1])))
    if shorter < gate.min_chars:
        return "empty", f"an arm has {shorter} characters, {gate.min_chars} are wanted"
    for arm in (chosen, rejected):
        if arm.finish_reason not in FINISHED:
            return "truncated", f"an arm ended by {arm.finish_reason}"
    if same_text(*texts):
        return "identical_text", "both arms are the same text"
    if gate.refusal and declines(texts[0]):
        return "refusal", f"the chosen arm declines: {texts[0][:60]}"
    if gate.length_ratio is not None and longer > shorter * gate.length_ratio:
        return "length_ratio", f"{longer} characters against {shorter}"
    if gate.max_similarity is not None and (same := similarity(*texts)) >= gate.max_similarity:
        return "too_similar", f"similarity {same:.3f}"
    return None


def similarity(a: str, b: str) -> float:
    """Jaccard similarity of character 5-grams of the normalised texts (spec pairs V6); first 20,000 characters."""
    grams = [
        {t[i : i + 5] for i in range(max(1, len(t) - 4))} for t in (normal_text(a)[:20000], normal_text(b)[:20000])
    ]
    return len(grams[0] & grams[1]) / len(grams[0] | grams[1])


def passed_filters(gap: float | None, bounds: Bounds, gate: Gate) -> tuple[FilterResult, ...]:
    """Entries of `Pair.filters` for a pair that passed: only rules that were asked."""
    asked = [FilterResult("identical_text", True)]
    if gap is not None:
        asked.insert(0, FilterResult("margin", True, gap, bounds.min_margin))
    if bounds.min_judgments:
        asked.append(FilterResult("min_judgments", True, None, float(bounds.min_judgments)))
    if gate.refusal:
        asked.append(FilterResult("refusal", True))
    if gate.length_ratio is not None:
        asked.append(FilterResult("length_ratio", True, None, gate.length_ratio))
    if gate.max_similarity is not None:
        asked.append(FilterResult("similarity", True, None, gate.max_similarity))
    if gate.max_length is not None:
        asked.append(FilterResult("identical_truncated", True, None, float(gate.max_length)))
    return tuple(asked)
