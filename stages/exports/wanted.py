"""What the config asks of a format, and what a format is given beside the row it converts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from msgspec import Struct

from pipeline.pair import Pair
from pipeline.records import Prompt
from pipeline.tokenizer import Tokenizer
from pipeline.tree import Node, Tree
from stages.pairs.truncation import TrainingLength


class Explanation(Struct, frozen=True):
    """A rationale that goes along; `response_a` says which arm the text calls Response A. rewritable: it can also be told
    with the names the other way round. statement: the fixed sentence of its verdict."""

    text: str
    kind: str
    response_a: str  # chosen | rejected
    rewritable: bool = True
    statement: str = ""


class Wanted(NamedTuple):
    """The columns that are optional (`rationales`, `margin`, `scores`) and the training's length in tokens.

    tokenizer: of the model to be trained; `length` compares arms with it. Both None where none was named.
    """

    rationales: bool = False
    margin: bool = False
    scores: bool = False
    max_length: int = 1024
    tokenizer: Tokenizer | None = None
    length: TrainingLength | None = None


class Given(NamedTuple):
    """One prompt's other rows. `pairs`: those under export that no better label contradicts."""

    prompt: Prompt
    pairs: Sequence[Pair] = ()
    trees: Sequence[Tree] = ()
    nodes: Sequence[Node] = ()
    explanations: Mapping[str, Explanation] = {}
    wanted: Wanted = Wanted()
