"""IFEval's rules, written anew from their definition (google-research, instruction_following_eval), quirks included: a second
opinion on our checkers. Left out: sentences and words in capitals (its tokenizer is not installed), and languages."""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

Kwargs = Mapping[str, Any]
Rule = Callable[[str, Kwargs], bool]
_HOLDS = {"at least": operator.ge, "less than": operator.lt, "at most": operator.le}
_OPTIONS = ("My answer is yes.", "My answer is no.", "My answer is maybe.")


def _holds(count: int, relation: str, bound: int) -> bool:
    return bool(_HOLDS[relation](count, bound))


def _words(text: str, k: Kwargs) -> bool:
    return _holds(len(re.findall(r"\w+", text)), k["relation"], k["num_words"])


def _paragraphs(text: str, k: Kwargs) -> bool:
    parts = re.split(r"\s?\*\*\*\s?", text)
    inner = parts[1:-1]
    count = len(parts) - sum(not part.strip() for part in {0: parts[0], len(parts) - 1: parts[-1]}.values())
    return all(part.strip() for part in inner) and count == k["num_paragraphs"]


def _bullets(text: str, k: Kwargs) -> bool:
    starred, dashed = (re.findall(p, text, re.MULTILINE) for p in (r"^\s*\*[^\*].*$", r"^\s*-.*$"))
    return bool(len(starred) + len(dashed) == k["num_bullets"])


def _highlights(text: str, k: Kwargs) -> bool:
    single = [s for s in re.findall(r"\*[^\n\*]*\*", text) if s.strip("*").strip()]
    double = [s for s in re.findall(r"\*\*([^\n\*]*)\*\*", text) if s.strip()]
    return bool(len(single) + len(double) >= k["num_highlights"])


def _sections(text: str, k: Kwargs) -> bool:
    return bool(len(re.findall(rf"\s?{k['section_spliter']}\s?\d+\s?", text)) >= k["num_sections"])


def _nth(text: str, k: Kwargs) -> bool:
    parts = text.split("\n\n")
    count, n = sum(bool(part.strip()) for part in parts), k["nth_paragraph"]
    if n > count or not parts[n - 1].strip():
        return False
    word = re.split(r"[.,?!'\"]", parts[n - 1].split()[0].lstrip("'").lstrip('"'))[0].lower()
    return bool(count == k["num_paragraphs"] and word == k["first_word"].lower())


def _postscript(text: str, k: Kwargs) -> bool:
    known = {"P.P.S": r"p\.\s?p\.\s?s.*$", "P.S.": r"p\.\s?s\..*$"}
    pattern = known.get(k["postscript_marker"], k["postscript_marker"].lower() + ".*$")
    return re.search(pattern, text.lower(), re.MULTILINE) is not None


def _frequency(text: str, k: Kwargs) -> bool:
    return _holds(len(re.findall(k["keyword"], text, re.IGNORECASE)), k["relation"], k["frequency"])


def _forbidden(text: str, k: Kwargs) -> bool:
    return not any(re.search(rf"\b{word}\b", text, re.IGNORECASE) for word in k["forbidden_words"])


def _json(text: str, k: Kwargs) -> bool:
    text = text.strip()
    for fence in ("```json", "```Json", "```JSON", "```"):
        text = text.removeprefix(fence)
    try:
        json.loads(text.removesuffix("```").strip())
    except ValueError:
        return False
    return True


def _two(text: str, k: Kwargs) -> bool:
    parts = text.split("******")
    filled = [part.strip() for part in parts if part.strip()]
    return all(part.strip() for part in parts[1:-1]) and len(filled) == 2 and filled[0] != filled[1]


def _title(text: str, k: Kwargs) -> bool:
    return any(title.lstrip("<").rstrip(">").strip() for title in re.findall(r"<<[^\n]+>>", text))


def _quotation(text: str, k: Kwargs) -> bool:
    text = text.strip()
    return len(text) > 1 and text[0] == '"' and text[-1] == '"'


IFEVAL_RULES: Mapping[str, Rule] = {
    "length_constraints:number_words": _words,
    "length_constraints:number_paragraphs": _paragraphs,
    "length_constraints:nth_paragraph_first_word": _nth,
    "detectable_format:number_bullet_lists": _bullets,
    "detectable_format:number_highlighted_sections": _highlights,
    "detectable_format:multiple_sections": _sections,
    "detectable_format:json_format": _json,
    "detectable_format:title": _title,
    "detectable_format:constrained_response": lambda text, k: any(option in text for option in _OPTIONS),
    "detectable_content:number_placeholders": lambda text, k: (
        len(re.findall(r"\[.*?\]", text)) >= k["num_placeholders"]
    ),
    "detectable_content:postscript": _postscript,
    "keywords:existence": lambda text, k: all(re.search(word, text, re.IGNORECASE) for word in k["keywords"]),
    "keywords:frequency": _frequency,
    "keywords:forbidden_words": _forbidden,
    "keywords:letter_frequency": lambda text, k: _holds(
        text.lower().count(k["letter"].lower()), k["let_relation"], k["let_frequency"]
    ),
    "change_case:english_capital": lambda text, k: text.isupper(),
    "change_case:english_lowercase": lambda text, k: text.islower(),
    "punctuation:no_comma": lambda text, k: "," not in text,
    "startend:end_checker": lambda text, k: text.strip().strip('"').lower().endswith(k["end_phrase"].strip().lower()),
    "startend:quotation": _quotation,
    "combination:two_responses": _two,
    "combination:repeat_prompt": lambda text, k: text.strip().lower().startswith(k["prompt_to_repeat"].strip().lower()),
}


def second_opinion(family: str, kwargs: Kwargs, text: str) -> bool | None:
    """What IFEval's rule says; None where it has none for the family, or not for these arguments."""
    rule = IFEVAL_RULES.get(family)
    bound = {"number_bullet_lists", "number_highlighted_sections", "multiple_sections", "number_placeholders"}
    if rule is None or (family.split(":")[1] in bound | {"number_paragraphs"} and "relation" in kwargs):
        return None
    return rule(text, kwargs) != bool(kwargs.get("negated"))
