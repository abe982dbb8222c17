"""Families of form that a response has or has not: case, punctuation, JSON, title, quotes, lists … Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from random import Random
from typing import Any, NoReturn

from stages.constraints.family import Evidence, Family, Flag, Kwargs, flag
from stages.pairs.select import same_text

_TITLE, _ODD_TITLE = re.compile(r"<<[^<>\n]*[^<>\s][^<>\n]*>>"), re.compile(r"<<[^\n]+>>")
_FENCE = re.compile(r"\A```[ \t]*(?:json)?[ \t]*\n?(.*?)\n?[ \t]*```\Z", re.DOTALL | re.IGNORECASE)
_BULLET, _BULLET_LIKE = re.compile(r"^[ \t]*[*+•-][ \t]+\S", re.MULTILINE), re.compile(r"^[ \t]*[*+•–-]", re.MULTILINE)
_NUMBERED = re.compile(r"^[ \t]*(\d+)[.)][ \t]+\S", re.MULTILINE)
_NUMBER_LIKE = re.compile(r"^\W*(?:\w+[ \t]+)?\d+[.):]", re.MULTILINE)
_OPTIONS = ("My answer is yes.", "My answer is no.", "My answer is maybe.")
_CURLY = "“”„«»"


def _cased(lower: bool) -> Callable[[str, Kwargs], bool | None]:
    def holds(text: str, kwargs: Kwargs) -> bool | None:
        if not any(char.isupper() or char.islower() for char in text):
            return None  # no letter has a case
        return text.islower() if lower else text.isupper()

    return holds


def _without(char: str, likes: str = "") -> Callable[[str, Kwargs], bool | None]:
    """No `char`; unknown where only look-alikes of other scripts stand."""
    return lambda text, kwargs: False if char in text else None if any(like in text for like in likes) else True


def _no_digits(text: str, kwargs: Kwargs) -> bool | None:
    return False if any(c in "0123456789" for c in text) else None if any(c.isnumeric() for c in text) else True


def _titled(text: str, kwargs: Kwargs) -> bool | None:
    return True if _TITLE.search(text) else None if _ODD_TITLE.search(text) else False


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def is_json(text: str, kwargs: Kwargs) -> bool | None:
    """An object or a list, bare or in a fence. None: JSON with NaN, a lone number or word, nested too deep to read."""
    fenced = _FENCE.match(text.strip())
    body = fenced[1] if fenced else text.strip()
    try:
        value: Any = json.loads(body, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        return None if isinstance(error, RecursionError) or "is no JSON" in str(error) else False
    return True if isinstance(value, (dict, list)) else None


def _quotation(text: str, kwargs: Kwargs) -> bool | None:
    bare = text.strip()
    if len(bare) > 1 and bare[0] == bare[-1] == '"':
        return True
    return None if bare[0] in _CURLY and bare[-1] in _CURLY else False


def _option(text: str, kwargs: Kwargs) -> bool | None:
    """None: an option with something around it, which IFEval takes for kept."""
    if text.strip() in _OPTIONS:
        return True
    return None if any(option.lower() in text.lower() for option in _OPTIONS) else False


def _two(text: str, kwargs: Kwargs) -> bool | None:
    parts = text.split("******")
    filled = [part for part in parts if part.strip()]
    if len(filled) != 2:
        return False
    if any("*" in (part[:1], part[-1:]) for part in filled) or any(not part.strip() for part in parts[1:-1]):
        return None  # longer rows of asterisks, or an empty response between two rows
    return not same_text(*filled)


def _repeated(text: str, kwargs: Kwargs) -> bool | None:
    """None: the same words with other case or white space, of which the wording allows neither and IFEval the first."""
    wanted, said = kwargs["prompt_to_repeat"].strip(), text.strip()
    if said.startswith(wanted):
        return True
    return None if "".join(said.split()).lower().startswith("".join(wanted.split()).lower()) else False


def _postscript(text: str, kwargs: Kwargs) -> bool | None:
    """A last paragraph's line that begins with the marker; None where the marker stands elsewhere."""
    letters = re.findall(r"\w+", kwargs["postscript_marker"])
    marker = r"\.?[ \t]?".join([re.escape(letter) for letter in letters])
    lines = [line for line in text.splitlines() if line.strip()]
    if re.search(rf"^\W*{marker}(?!\w)", lines[-1] if lines else "", re.IGNORECASE):
        return True
    return None if re.search(rf"(?<!\w){marker}(?!\w)", text, re.IGNORECASE) else False


def _bulleted(text: str, kwargs: Kwargs) -> bool | None:
    return True if _BULLET.search(text) else None if _BULLET_LIKE.search(text) else False


def _numbered(text: str, kwargs: Kwargs) -> bool | None:
    """Two items or more, numbered from 1. None: a lone or broken count, lines like `Step 1:`, or no lines to number."""
    found = [int(n) for n in _NUMBERED.findall(text) if len(n) < 4]
    if len(found) > 1 and found == list(range(1, len(found) + 1)):
        return True
    return None if found or _NUMBER_LIKE.search(text) or "\n" not in text.strip() else False


def _request(evidence: Evidence, draw: Random) -> Kwargs | None:
    return {"prompt_to_repeat": evidence.prompt.strip()} if evidence.prompt.strip() else None


FORMS: tuple[Family, ...] = tuple([
    flag(spec) for spec in (
        Flag("change_case:english_lowercase", _cased(True), "Write everything in lowercase.",
             "Do not write everything in lowercase."),
        Flag("change_case:english_capital", _cased(False), "Write everything in capital letters.",
             "Do not write everything in capital letters."),
        Flag("punctuation:no_comma", _without(",", "，、،"), "Do not use any commas.", "Use at least one comma."),
        Flag("punctuation:punctuation_exclamation", _without("!", "！¡"), "Do not use any exclamation marks.",
             "Use at least one exclamation mark."),
        Flag("detectable_content:no_digits", _no_digits, "Do not use any digits.", "Use at least one digit."),
        Flag("detectable_format:bullet_points", _bulleted, "Use at least one bullet point.", "Do not use bullet points."),
        Flag("detectable_format:numbered_list", _numbered, "Number the steps like 1. 2. 3.", "Do not number the steps."),
        Flag("detectable_format:title", _titled, "Give your answer a title in double angular brackets, such as <<title>>.",
             "Do not write a title in double angular brackets."),
        Flag("detectable_format:json_format", is_json, "Write your whole answer as JSON.",
             "Do not write your answer as JSON."),
        Flag("detectable_format:constrained_response", _option,
             f"Answer with one of these sentences and nothing else: {' / '.join(_OPTIONS)}"),
        Flag("startend:quotation", _quotation, "Wrap your whole answer in double quotation marks.",
             "Do not wrap your answer in quotation marks."),
        Flag("combination:two_responses", _two, "Give two different responses, separated by six asterisks: ******.",
             "Give one response only, without a row of six asterisks."),
        Flag("combination:repeat_prompt", _repeated, "Repeat the request word for word before you answer.",
             "Do not repeat the request before you answer.", _request, {"prompt_to_repeat": str}),
        Flag("detectable_content:postscript", _postscript,
             lambda kwargs: f'End with a postscript that starts with "{kwargs["postscript_marker"]}"', None,
             lambda evidence, draw: {"postscript_marker": draw.choice(("P.S.", "P.P.S"))}, {"postscript_marker": str}),
    )
])  # fmt: skip
