"""What the author of a rationale wrote: one JSON object, read with care and without trust."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from msgspec import Struct

Side = Literal["A", "B", "prompt"]

MAX_CHARS = 20_000  # of an answer; what is longer is no rationale
_MAX_OBJECTS = 20  # opening braces tried before giving up
_MAX_ITEMS = 30
SORTS = ("strength", "defect")
_WORDS = {
    "slightly": 1,
    "a little": 1,
    "somewhat": 1,
    "better": 2,
    "clearly": 2,
    "much": 3,
    "significantly": 3,
    "far": 3,
}

# Key order is generation order: the evidence first, the verdict last, so that it depends on what was found.
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "evidence": {
            "type": "array",
            "maxItems": 6,
            "items": {
                "type": "object",
                "properties": {
                    "side": {"enum": ["A", "B", "prompt"]},
                    "quote": {"type": "string", "maxLength": 300},
                    "point": {"type": "string", "maxLength": 400},
                },
                "required": ["side", "quote", "point"],
                "additionalProperties": False,
            },
        },
        "elaboration": {"type": "string", "maxLength": 2000},
        "statement": {"type": "string", "maxLength": 200},
        "verdict": {
            "type": "object",
            "properties": {"label": {"enum": ["A", "B"]}, "strength": {"enum": [1, 2, 3]}},
            "required": ["label", "strength"],
            "additionalProperties": False,
        },
    },
    "required": ["evidence", "elaboration", "statement", "verdict"],
    "additionalProperties": False,
}


class Evidence(Struct, frozen=True, gc=False):
    """One reason: which side it concerns (as shown; None when not said), a verbatim quote, what it shows."""

    side: Side | None
    quote: str
    point: str
    sort: str = ""  # of a critique: strength | defect


class Reply(Struct, frozen=True, gc=False):
    """A rationale as its author gave it. label: A, B, or "" for neither; strength 1–3 or None.

    form: what its text is made of: `json` the prose and the evidence, `annotated_report` the evidence and the prose,
    others the prose alone.
    """

    evidence: tuple[Evidence, ...]
    elaboration: str
    statement: str
    label: str
    strength: int | None
    form: str = "json"

    @property
    def prose(self) -> str:
        """The author's own words, without the quotes."""
        return "\n".join([self.elaboration, *[e.point for e in self.evidence if e.point]]).strip()

    @property
    def text(self) -> str:
        """Readable prose that names Response A and Response B as shown."""
        report = listed(self.evidence, {"A": "Response A", "B": "Response B", "prompt": "The prompt"})
        prose = [self.elaboration] if self.elaboration else []
        lines = {"json": [*prose, *report], "annotated_report": [*report, *prose]}
        return "\n".join(lines.get(self.form, prose))


def listed(evidence: Sequence[Evidence], names: Mapping[str, str]) -> list[str]:
    """A line for each reason: `- Response B says "3 + 4 = 8": it is 7`."""
    lines = []
    for e in evidence:
        where, quote = names.get(e.side or "", ""), f'"{e.quote}"' if e.quote else ""
        head = f"{where} says {quote}" if where and quote else where or quote
        if e.sort:
            head = f"{e.sort.capitalize()}: {head}" if head else e.sort.capitalize()
        if head or e.point:
            lines.append(f"- {head}: {e.point}" if head and e.point else f"- {head or e.point}")
    return lines


def parse_reply(text: str, form: str = "json") -> Reply | None:
    """The first JSON object in `text` that has a verdict, fenced or not; None when there is none of the right shape."""
    value = first_object(text, "verdict")
    return None if value is None else _reply(value, form)


def first_object(text: str, key: str) -> dict[str, Any] | None:
    """The first JSON object in `text` that has `key`, fenced or not."""
    if len(text) > MAX_CHARS:
        return None
    decoder = json.JSONDecoder(parse_constant=_no_constant)
    at = text.find("{")
    for _ in range(_MAX_OBJECTS):
        if at < 0:
            return None
        try:
            value, _end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):  # broken, a number of ten thousand digits, nested a thousand deep
            value = None
        if isinstance(value, dict) and key in value:
            return value
        at = text.find("{", at + 1)
    return None


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _reply(value: dict[str, Any], form: str) -> Reply | None:
    verdict, evidence = value["verdict"], read_evidence(value)
    if isinstance(verdict, str):
        verdict = {"label": verdict}
    label = _label(verdict.get("label")) if isinstance(verdict, dict) else None
    elaboration, sentence = value.get("elaboration", ""), value.get("statement", "")
    if label is None or evidence is None or not isinstance(elaboration, str) or not isinstance(sentence, str):
        return None
    return Reply(evidence, elaboration.strip(), sentence.strip(), label, _strength(verdict.get("strength")), form)


def read_evidence(value: Mapping[str, Any], alone: bool = False) -> tuple[Evidence, ...] | None:
    """The `evidence` of a reply; None when it is no list of objects. alone: there is one response, which is A."""
    items = value.get("evidence", [])
    if not isinstance(items, list) or len(items) > _MAX_ITEMS or not all(isinstance(i, dict) for i in items):
        return None
    return tuple([_evidence(item, alone) for item in items])


def _evidence(item: Mapping[str, Any], alone: bool) -> Evidence:
    side, sort = _side(item.get("side")), _text(item.get("sort")).lower()
    if alone and side != "prompt":
        side = "A"
    return Evidence(side, _text(item.get("quote")), _text(item.get("point")), sort if alone and sort in SORTS else "")


def _text(value: Any) -> str:
    return value.strip() if isinstance(value, str) else ""


def _name(value: Any) -> str:
    return value.strip().lower().removeprefix("response").strip(" _-@.") if isinstance(value, str) else ""


def _label(value: Any) -> str | None:
    name = _name(value)
    return name.upper() if name in ("a", "b") else "" if name in ("tie", "neither", "equal", "both") else None


def _side(value: Any) -> Side | None:
    name = _name(value)
    return "A" if name == "a" else "B" if name == "b" else "prompt" if name == "prompt" else None


def _strength(value: Any) -> int | None:
    if isinstance(value, str):
        value = (
            int(value) if value.strip() in ("1", "2", "3") else _WORDS.get(value.strip().lower().split(" better")[0])
        )
    return value if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 3 else None
