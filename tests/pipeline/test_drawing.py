"""What pictures of a tree say, in the terminal: numbers where known, pairs, wide forks, text that obeys nobody."""

from __future__ import annotations

import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from pipeline.drawing import Drawing, Taken, ending, facts, printable, shorten
from pipeline.records import Message, Prompt
from pipeline.show import WIDE, draw
from pipeline.tree import Node, Tree

PROMPT = Prompt("p", "p", (Message("user", "How many?"),), "4")
TREE = Tree(prompt_id="p", tree_id="t", job="search", status="exhausted", n_nodes=3, n_correct=1, n_wrong=1)


def node(node_id: int, parent_id: int | None = 0, **columns: Any) -> Node:
    return Node(prompt_id="p", tree_id="t", node_id=node_id, parent_id=parent_id, **columns)


def drawn(nodes: list[Node], pairs: list[Taken], width: int = 100) -> list[str]:
    out = io.StringIO()
    draw(Drawing(PROMPT, TREE, nodes, pairs), Console(file=out, width=width, highlight=False))
    return [line.rstrip() for line in out.getvalue().splitlines()]


END: dict[str, Any] = {"is_terminal": True, "terminal_reason": "answer", "visits": 1}
STEPS = [
    node(0, None, visits=3, q=-0.001, mc=0.5, mc_n=2),
    node(
        1, step_text="2 + 2 = 4\n", outcome=1, final_answer="4", q=1.0, self_eval=0.91, depth=1, multiplicity=3, **END
    ),
    node(2, step_text="2 + 2 = [red]5[/red]\n", outcome=-1, q=-1.0, judge_score=-0.5, depth=1, **END),
]


def test_a_tree_is_drawn_with_its_numbers_ends_and_pairs() -> None:
    pairs = [Taken("pair_steps", "topk", "step", 1, 2, 0.75), Taken("again", "first_error", "step", 1, 2, None)]
    assert drawn(STEPS, pairs) == [
        "t: exhausted, 3 nodes, ends: 1 right, 1 wrong, 0 undecided, 2 pairs",
        "prompt  #0 N 3 Q +0.00 mc 1/2",
        "├── 2 + 2 = 4  #1 N 1 Q +1.00 self 0.91 ×3  right: 4  chosen 1, 2",
        "└── 2 + 2 = [red]5[/red]  #2 N 1 Q -1.00 judge -0.50  wrong  rejected 1, 2",
        "  pair 1  pair_steps: #1 over #2 (topk, step, gap 0.75)",
        "  pair 2  again: #1 over #2 (first_error, step)",
    ]


def test_a_turn_shows_what_it_was_answered() -> None:
    turns = [
        node(0, None),
        node(1, step_text="5", depth=1, outcome=-1, observation="Wrong:\nadd 1."),
        node(2, 1, step_text="6", depth=2),
    ]
    assert drawn(turns, [])[2:] == ["└── 5  #1 N 0  wrong  answered: Wrong: ⏎ add 1.", "    └── 6  #2 N 0"]


def test_what_is_not_known_is_not_told() -> None:
    assert facts(node(1)) == ["#1", "N 0"]
    assert facts(node(1, mc=0.25)) == ["#1", "N 0", "mc 0.25"]
    assert ending(node(1)) == ""
    assert ending(node(1, is_terminal=True, terminal_reason="max_depth")) == "undecided (max_depth)"


def test_a_wide_fork_shows_its_pairs_and_best_path_and_counts_the_rest() -> None:
    children = [node(i, step_text=f"step {i}", visits=100 - i, depth=1, correct=1, wrong=2) for i in range(1, 40)]
    children[35] = node(36, step_text="on the path", visits=1, depth=1, on_best_path=True)
    deep = node(40, 39, step_text="in a pair", depth=2)
    lines = drawn([node(0, None), *children, deep], [Taken("j", "topk", "step", 40, 38, 1.0)])
    steps = [line for line in lines if "#" in line and "over" not in line]
    assert len(steps) == 1 + WIDE + 1
    for told in ("step 1 ", "on the path", "step 38", "step 39", "in a pair"):
        assert any(told in line for line in steps), told
    assert lines[-2] == "└── … 33 more; ends below them: 33 right, 66 wrong"


@pytest.mark.parametrize("width", [40, 80, 200])
def test_long_steps_keep_their_beginning_and_end(width: int) -> None:
    told = shorten("First " + "x" * 500 + "\n\n so it is 7.\n", width)
    assert len(told) <= width + 2
    assert told.startswith("First x")
    assert told.endswith("so it is 7.")
    assert shorten("  a\n\nb  c \n", width) == "a ⏎ b c"


@given(st.text())
def test_nothing_that_is_shown_moves_a_cursor_or_turns_a_line(text: str) -> None:
    for shown in (printable(text), shorten(text, 40)):
        assert not [c for c in shown if c not in "\n\t" and not c.isprintable() and not c.isspace()]
    assert "\n" not in shorten(text, 40)
    assert "\x1b" not in printable(text)
    assert printable("\x1b[2J\u202e\u200b") == "\\x1b[2J\\x202e\\x200b"
