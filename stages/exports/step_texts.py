"""Steps as texts that are parted where the delimiters stand. Pure."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import msgspec

from pipeline.errors import Rejected
from stages.exports.wanted import Given


def delimiters_of(tree_id: str, given: Given) -> tuple[str, ...]:
    """The step delimiters of a search. Raises Rejected: no_tree."""
    config = next((tree.config_json for tree in given.trees if tree.tree_id == tree_id), None)
    if config is None:
        raise Rejected("no_tree", f"search tree {tree_id} is not among the inputs; export from its search, too")
    return _delimiters(config)


@functools.lru_cache(maxsize=64)  # the trees of a search have one configuration
def _delimiters(config: str) -> tuple[str, ...]:
    return tuple(msgspec.json.decode(config).get("delimiters", ()))


def whole_steps(prefix: str, steps: Sequence[str], delimiters: Sequence[str]) -> tuple[str, list[str]]:
    """(prefix, steps), each from behind a delimiter to behind the next, stripped.

    A token may hold a delimiter and the beginning of what follows ("\\nStep "), and a step ends with a token: what stands
    behind its delimiter is the next step's. Raises Rejected: empty (a step without text).
    """
    carried, made = "", []
    for place, text in enumerate((prefix, *steps)):
        end = len(carried + text) if place == len(steps) else _behind_last(carried + text, delimiters)
        made.append((carried + text)[:end].strip())
        carried = (carried + text)[end:]
    if not all(made[1:]):
        raise Rejected("empty", "a step has no text")
    return made[0], made[1:]


def _behind_last(text: str, delimiters: Sequence[str]) -> int:
    return max((at + len(d) for d in delimiters if (at := text.rfind(d)) >= 0), default=len(text))
