"""One line of a gold file as records: prompt, both answers, recorded verdicts, and the label as a pair. Pure.

The format is docs/calibration.md. Verdicts name the answer that is better, never the place where it was shown.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, get_args

import msgspec

from pipeline import ids
from pipeline.errors import Rejected
from pipeline.records import Candidate, Judgment, Message, Prompt, Record, Source, Status
from stages.pairs.build import response_pair
from stages.pairs.select import same_text
from stages.sources.columns import Row, conversation, number, optional_text, text

LABELS = {"a": 1.0, "b": 0.0, "tie": 0.5}  # -> P(answer a is better)
RECORDED = "recorded"  # the job of recorded judgments: a judge keeps its name whatever the job that reads it is called
ORDERS = {"ab": 0, "ba": 1}
STATUSES = frozenset(get_args(Status)) - {"ok"}


def gold_records(row: Row, job: str, source: Source, number_of_row: str, pairs: bool) -> list[Record]:
    """The prompt first, then its two candidates, the recorded judgments, and with `pairs` the label as a pair.

    The same question with other answers is another item, so the prompt's id is over its texts and the row's id. Raises
    Rejected.
    """
    asked = row.get("prompt")
    messages = conversation(asked, "prompt") if isinstance(asked, list) else (Message("user", text(asked, "prompt")),)
    answers = [_answer(row.get(f"response_{side}"), f"response_{side}") for side in "ab"]
    base, item = ids.prompt_id(messages), optional_text(row.get("id"), "id")
    prompt_id = ids.content_hash("gold/1", base, *answers, item or "")
    label = _label(row.get("label"))
    kept = {
        "label": label,
        "domain": optional_text(row.get("domain"), "domain"),
        "adversarial": row.get("adversarial") is True,
    }
    source = msgspec.structs.replace(source, row_id=item or number_of_row)
    prompt = Prompt(
        prompt_id, base, messages, optional_text(row.get("reference"), "reference"), source=source,
        ext_json=msgspec.json.encode(kept, order="deterministic").decode(),
    )  # fmt: skip
    models = [optional_text(row.get(f"model_{side}"), "model") for side in "ab"]
    candidates = [
        Candidate(prompt_id, ids.content_hash("cand/1", prompt_id, models[i], i, answer), answer, job, i, models[i])
        for i, answer in enumerate(answers)
    ]
    made: list[Record] = [prompt, *candidates, *_judgments(row, candidates)]
    if pairs and label in ("a", "b") and not same_text(*answers):
        better, worse = candidates if label == "a" else candidates[::-1]
        made.append(response_pair("given", prompt, better, worse, label_source="given"))
    return made


def _answer(given: Any, name: str) -> str:
    """A response may be empty: models answer nothing at times, and judges have said what they think of it."""
    return "" if given == "" else text(given, name)


def _label(given: Any) -> str | None:
    if given is None:
        return None
    if isinstance(given, str) and given.lower() in LABELS:
        return given.lower()
    raise Rejected("bad_label", f"label is {given!r:.40}; it must be a, b, tie or null")


def _judgments(row: Row, candidates: list[Candidate]) -> Iterator[Judgment]:
    prompt_id, both = candidates[0].prompt_id, tuple([c.candidate_id for c in candidates])
    for judge, given in _named(row, "verdicts"):
        for order, sample, verdict in _verdicts(judge, given):
            yield _judgment((prompt_id, judge), both, ("pairwise", order, sample), verdict)
    for judge, given in _named(row, "rewards"):
        if not isinstance(given, list) or len(given) != 2:
            raise Rejected("bad_rewards", f"rewards.{judge} must be [reward of a, reward of b], found {given!r:.40}")
        for candidate, reward in zip(both, given, strict=True):
            value = number(reward)
            yield _judgment(
                (prompt_id, judge), (candidate,), ("rm", None, 0), (value, "ok" if value is not None else "na")
            )


def _named(row: Row, key: str) -> list[tuple[str, Any]]:
    given = row.get(key)
    if given is None:
        return []
    if not isinstance(given, Mapping):
        raise Rejected(f"bad_{key}", f"{key} must map judges to what they said, found {given!r:.40}")
    return sorted(given.items())


def _verdicts(judge: str, given: Any) -> Iterator[tuple[int, int, tuple[float | None, Status]]]:
    """(order, sample, (P(a better), status)) of what a judge said: one verdict, or {ab: …, ba: …} of verdicts or lists."""
    by_order = given if isinstance(given, Mapping) else {"ab": given}
    if unknown := sorted(by_order.keys() - ORDERS.keys()):
        raise Rejected("bad_verdicts", f"verdicts.{judge} has {', '.join(unknown)}; its keys are ab and ba")
    for name, said in by_order.items():
        for sample, one in enumerate(said if isinstance(said, list) else [said]):
            yield ORDERS[name], sample, _verdict(one)


def _verdict(said: Any) -> tuple[float | None, Status]:
    """A verdict, a probability, a status, or what nobody could read."""
    if isinstance(said, str) and said.lower() in LABELS:
        return LABELS[said.lower()], "ok"
    if isinstance(said, (int, float)) and not isinstance(said, bool):
        return (float(said), "ok") if 0 <= said <= 1 else (None, "out_of_range")
    status: Status = said if isinstance(said, str) and said in STATUSES else "parse_error"  # type: ignore[assignment]
    return None, status


def _judgment(
    who: tuple[str, str],
    cand_ids: tuple[str, ...],
    call: tuple[str, int | None, int],
    said: tuple[float | None, Status],
) -> Judgment:
    prompt_id, judge = who
    mode, order, sample = call
    return Judgment(
        prompt_id=prompt_id,
        judgment_key=ids.content_hash("recorded/1", judge, cand_ids, mode, order, sample),
        job=RECORDED,
        mode=mode,
        judge_id=judge,
        cand_ids=cand_ids,
        status=said[1],
        value=said[0],
        scale_min=-math.inf if mode == "rm" else 0.0,
        scale_max=math.inf if mode == "rm" else 1.0,
        order=order,
        sample_idx=sample,
    )
