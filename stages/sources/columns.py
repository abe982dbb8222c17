"""Which column of the input means what, and how a value becomes text or messages. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator

from pipeline.errors import Rejected
from pipeline.records import Message

Row = Mapping[str, Any]
Getter = Callable[[Row], Any]
ROLES = {"human": "user", "gpt": "assistant"}  # ShareGPT's names; other roles stay as they are


class Columns(BaseModel):
    """The config's `columns:` block. A value is the name of a column, or a dotted path into nested objects."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompt: str | None = None  # text, or a list of messages; not needed where chosen and rejected are conversations
    input: str | None = None  # joined to the prompt by a blank line where it is not empty (Alpaca, PandaLM)
    system: str | None = None
    context: str | None = None  # the condition a preference holds under; joins the system message
    reference: str | None = None
    row_id: str | None = None
    base: str | None = None  # id of the seed prompt it was made from; as stages that make prompts write it
    lang: str | None = None
    license: str | None = None
    candidates: str | tuple[str, ...] | dict[str, str] | None = None  # a list column; paths; or model name -> path
    candidate_text: str = "text"  # where candidates are objects: the paths inside
    candidate_model: str = "model"
    candidate_score: str | None = None
    models: str | tuple[str, ...] | None = None  # a list column or paths, parallel to candidates
    scores: str | tuple[str, ...] | None = None  # likewise
    chosen: str | None = None  # text, a message list, or with its prompt a whole conversation
    rejected: str | None = None
    chosen_score: str | None = None
    rejected_score: str | None = None
    tree: str | None = None  # a recorded search tree: nested {text, mc_value, children}, or a list of prefixes
    tree_separator: str | None = None  # what stood between its steps; None: a blank line
    keep: tuple[str, ...] = ()  # further columns, kept as JSON in `ext_json`

    @model_validator(mode="after")
    def _makes_sense(self) -> Columns:
        if (self.chosen is None) != (self.rejected is None):
            raise ValueError("chosen and rejected belong together: map both or neither")
        if self.prompt is None and self.chosen is None:
            raise ValueError("map a prompt column, or chosen and rejected conversations")
        if self.chosen is not None and self.candidates is not None:
            raise ValueError("map candidates, or chosen and rejected, not both")
        if self.chosen is not None and self.tree is not None:
            raise ValueError("map a tree, or chosen and rejected, not both")
        return self

    @property
    def has_scores(self) -> bool:
        """Whether the input brings scores, which need a `score_range`."""
        return any((self.scores, self.candidate_score, self.chosen_score, self.rejected_score))

    def paths(self) -> Iterator[tuple[str, str]]:
        """(key, path) of everything that is read from a row."""
        for key, value in self:
            if key in ("candidate_text", "candidate_model", "candidate_score", "tree_separator") or not value:
                continue
            for path in (value,) if isinstance(value, str) else value.values() if isinstance(value, dict) else value:
                yield key, path


def getter(path: str | None) -> Getter:
    """A function from a row to the value at `path` (a column of that name first, then nested); None where absent."""
    if path is None:
        return lambda row: None
    first, *rest = path.split(".")
    if not rest:
        return lambda row: row.get(path)

    def nested(row: Row) -> Any:
        if path in row:
            return row[path]
        value: Any = row.get(first)
        for part in rest:
            if isinstance(value, Mapping):
                value = value.get(part)
            elif (
                isinstance(value, Sequence) and not isinstance(value, str) and part.isdigit() and int(part) < len(value)
            ):
                value = value[int(part)]
            else:
                return None
        return value

    return nested


def parallel(spec: str | tuple[str, ...] | None) -> Callable[[Row], Sequence[Any]]:
    """A function from a row to a list: the list at one path, or the values at several."""
    if spec is None:
        return lambda row: ()
    if isinstance(spec, str):
        whole = getter(spec)
        return lambda row: value if isinstance(value := whole(row), (list, tuple)) else ()
    each = [getter(path) for path in spec]
    return lambda row: [get(row) for get in each]


def text(value: Any, name: str) -> str:
    """`value` as text that is not blank. Raises Rejected: missing_, empty_ or non_text_`name`."""
    if isinstance(value, str):
        if value and not value.isspace():
            return value
        raise Rejected(f"empty_{name}", f"the {name} is empty")
    if value is None:
        raise Rejected(f"missing_{name}", f"there is no {name}")
    raise Rejected(f"non_text_{name}", f"the {name} is {type(value).__name__} {str(value)[:40]}, not text")


def optional_text(value: Any, name: str) -> str | None:
    """Text, or a number as text; None where absent or blank. Raises Rejected for anything else."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value)
    return text(value, name)


def number(value: Any) -> float | None:
    """A finite number, also where it is written as text (`"4"`); None for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        found = float(value)
    except ValueError:
        return None
    return found if abs(found) < float("inf") else None


def conversation(value: Any, name: str) -> tuple[Message, ...]:
    """A list of `{role, content}` (or ShareGPT's `{from, value}`) as messages. Raises Rejected."""
    if not isinstance(value, (list, tuple)):
        raise Rejected(f"non_text_{name}", f"the {name} is {type(value).__name__}, neither text nor a list of messages")
    if not value:
        raise Rejected(f"empty_{name}", f"the {name} is an empty list")
    messages = []
    for turn in value:
        if not isinstance(turn, Mapping):
            raise Rejected(f"non_text_{name}", f"a message of the {name} is {type(turn).__name__}, not an object")
        role = turn.get("role", turn.get("from"))
        if not isinstance(role, str):
            raise Rejected(f"non_text_{name}", f"a message of the {name} has no role")
        messages.append(Message(ROLES.get(role, role), text(turn.get("content", turn.get("value")), name)))
    return tuple(messages)
