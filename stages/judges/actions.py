"""What one turn of a judge with tools says: a call of a tool, or a verdict. Pure functions of its text.

Only the first call of a turn counts and the text after it is dropped, as is all from the first `Observation:`: what a
tool said comes from the tool. A verdict is the last thing of a turn without a call.
"""

from __future__ import annotations

import json
import re
from typing import Any

from msgspec import Struct

_OBSERVATION = re.compile(r"^[ \t>*_`#-]{0,6}observation\b[*_` ]{0,3}:", re.IGNORECASE | re.MULTILINE)
_ACTION = re.compile(r"^[ \t>*_`#-]{0,6}action[*_` ]{0,3}:[*_` ]{0,3}", re.IGNORECASE | re.MULTILINE)
_NAME = re.compile(r"[\"'`*\[]{0,3}([A-Za-z_]{1,30})[\"'`*\]]{0,3}")
_INPUT = re.compile(r"\s*^[ \t*_`]{0,4}action[ _]input[*_` ]{0,3}:[*_ ]{0,3}", re.IGNORECASE | re.MULTILINE)
_OBJECT = re.compile(r"^[ \t]{0,4}(?=\{)", re.MULTILINE)
_FENCE = re.compile(r"\s*```\w*\n(.*?)(?:```|\Z)", re.DOTALL)
_CLOSE = {"[": "]", "(": ")"}
_TOOL_KEYS, _INPUT_KEYS = ("tool", "action", "name"), ("args", "input", "arguments", "action_input", "argument")
_END = r"[\s.!*_`\"'})\]]*\Z"
_VERDICT = re.compile(
    rf"(?:\bverdict\b(?:\sis\b)?[\s:*_`\"'(\[]{{1,8}}|\[\[\s?|(?:\A|\n)[\s*_`\"']{{0,4}})(?P<said>yes|no){_END}",
    re.IGNORECASE,
)
_TAIL = 200  # characters


class Action(Struct, frozen=True, gc=False):
    """A call of a tool. argument: its input as text; text: the turn up to the end of the call; thought: before it."""

    tool: str
    argument: str
    text: str
    thought: str


class Verdict(Struct, frozen=True, gc=False):
    """yes or no; as_label: written just like the label, so that label probabilities of the last label belong to it."""

    yes: bool
    as_label: bool
    thought: str


def own_words(text: str) -> str:
    """`text` before the first observation that it makes up."""
    invented = _OBSERVATION.search(text)
    return text[: invented.start()].rstrip() if invented else text.rstrip()


def read_action(text: str) -> Action | None:
    """The first call in a turn; None when it makes none.

    Forms: `Action: tool[input]`, `Action: tool(input)`, `Action: {"tool": …, "args": …}`, a line that is such an object,
    `Action: tool` with `Action Input: …` or a fenced block after it.
    """
    text = own_words(text)
    marked = _ACTION.search(text)
    for at in [m.end() for m in _OBJECT.finditer(text)]:
        if (marked is None or at <= marked.end()) and (found := _from_object(text, at)):
            return found
    if marked is None:
        return None
    following = _ACTION.search(text, marked.end())
    text = text[: following.start()].rstrip() if following else text
    return _from_object(text, marked.end()) or _from_line(text, marked)


def _from_object(text: str, at: int) -> Action | None:
    if not text.startswith("{", at):
        return None
    try:
        said, end = json.JSONDecoder().raw_decode(text, at)
    except (ValueError, RecursionError):
        return None
    tool = next((said[k] for k in _TOOL_KEYS if k in said), None)
    if not isinstance(tool, str):
        return None
    argument = next((said[k] for k in _INPUT_KEYS if k in said), "")
    start = text.rfind("\n", 0, at) + 1
    return Action(tool.strip(), _as_text(argument), text[:end], text[:start].strip())


def _as_text(argument: Any) -> str:
    """A string as it is, `{"expression": "2 + 2"}` as its only value, anything else as JSON."""
    if isinstance(argument, dict) and len(argument) == 1:
        (argument,) = argument.values()
    return argument if isinstance(argument, str) else json.dumps(argument, ensure_ascii=False)


def _from_line(text: str, marked: re.Match[str]) -> Action | None:
    name = _NAME.match(text, marked.end())
    if name is None:
        return None
    thought = text[: marked.start()].strip()
    at = name.end()
    if text[at : at + 1] in _CLOSE:
        end = _closing(text, at)
        return Action(name[1], _bare(text[at + 1 : end]), text[: end + 1], thought)
    if fenced := _FENCE.match(text, at):
        return Action(name[1], fenced[1].strip("\n"), text[: fenced.end()], thought)
    given = _INPUT.match(text, at)
    argument = text[given.end() :] if given else text[at:].partition("\n")[0]
    end = len(text) if given else at + len(argument)
    return Action(name[1], _bare(argument.lstrip(": ")), text[:end], thought)


def _closing(text: str, at: int) -> int:
    """Where the bracket opened at `at` closes: at the end of its line or of the text, else where it is balanced."""
    close, line_end = _CLOSE[text[at]], text.find("\n", at)
    line = text[at : line_end if line_end >= 0 else len(text)].rstrip()
    if line.endswith(close) and line.count(text[at]) == line.count(close):
        return at + len(line) - 1
    if text.endswith(close):
        return len(text) - 1
    depth = 0
    for i in range(at, len(text)):
        depth += (text[i] == text[at]) - (text[i] == close)
        if depth == 0:
            return i
    return len(text)


def _bare(argument: str) -> str:
    """Without a fence or quotation marks around it."""
    fenced = _FENCE.match(argument)
    text = (fenced[1] if fenced else argument).strip()
    for mark in ("`", '"', "'"):
        if len(text) > 1 and text[0] == text[-1] == mark and mark not in text[1:-1]:
            return text[1:-1]
    return text


def read_verdict(text: str) -> Verdict | None:
    """The verdict that ends a turn: `Verdict: yes`, `{"verdict": "no"}`, `[[yes]]`, a last line `no`. None without one."""
    text = own_words(text)
    offset = max(0, len(text) - _TAIL)
    found = _VERDICT.search(text, offset)
    if found is None:
        return None
    said = found["said"]
    return Verdict(said.lower() == "yes", said.islower(), text[: found.start()].strip())
