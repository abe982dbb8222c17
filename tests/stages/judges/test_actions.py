"""What a judge's turn says: its first call, its verdict at the end, and nothing that it made up."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.judges.actions import own_words, read_action, read_verdict


@pytest.mark.parametrize(
    ("text", "tool", "argument"),
    [
        ("Thought: add\nAction: calculator[2 + 2]", "calculator", "2 + 2"),
        ("**Action:** calculator[2 + 2]", "calculator", "2 + 2"),
        ("Action: `calculator`[2 + 2]", "calculator", "2 + 2"),
        ("Action: calculator(3 * (1 + 1))", "calculator", "3 * (1 + 1)"),
        ("Action: calculator[2 + 2]\nThen I would see [4].", "calculator", "2 + 2"),
        ("Action: calculator[2 + 2] to see", "calculator", "2 + 2"),
        ("Action: calculator[2 + 2", "calculator", "2 + 2"),
        ("Action: calculator\nAction Input: 2 + 2", "calculator", "2 + 2"),
        ("Action: calculator\nAction Input: `2 + 2`\nObservation: 5", "calculator", "2 + 2"),
        ("Action: calculator: 2 + 2", "calculator", "2 + 2"),
        ('Action: {"tool": "calculator", "args": "2 + 2"}', "calculator", "2 + 2"),
        ('Action: {"action": "calculator", "action_input": {"expression": "2 + 2"}}', "calculator", "2 + 2"),
        ('I add.\n{"name": "search", "arguments": {"query": "a", "k": 2}}', "search", '{"query": "a", "k": 2}'),
        ("Action: python[print([1, 2])]", "python", "print([1, 2])"),
        ("Action: python[\nx = [1]\nprint(x)\n]", "python", "x = [1]\nprint(x)"),
        ("Action: python[for i in range(3):\n    print(i)]", "python", "for i in range(3):\n    print(i)"),
        ('Action: python[print("]")]', "python", 'print("]")'),
        ("Action: python\n```python\nx = 1\nprint(x)\n```\nDone.", "python", "x = 1\nprint(x)"),
        ("Action: python[```python\nprint(1)\n```]", "python", "print(1)"),
        ("Action: python\nAction Input:\n```\nprint(1)\n```", "python", "print(1)"),
        ("Action: calculator[1 + 1]\nAction: calculator[5 * 5]", "calculator", "1 + 1"),
        ("Action: calculator[1 + 1]\nVerdict: yes", "calculator", "1 + 1"),
        ("Verdict: yes\nAction: calculator[1 + 1]", "calculator", "1 + 1"),
    ],
)
def test_the_first_call_is_read(text: str, tool: str, argument: str) -> None:
    action = read_action(text)
    assert action is not None
    assert (action.tool, action.argument) == (tool, argument)
    assert text.startswith(action.text)
    assert "Observation" not in action.text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Verdict: yes",
        "I could use Action: calculator[1]",
        "Observation: x\nAction: calculator[1]",
        "Action:",
        '{"a": 1}',
    ],
)
def test_what_is_no_call_is_none(text: str) -> None:
    assert read_action(text) is None


def test_an_observation_that_the_judge_makes_up_is_cut() -> None:
    text = "Thought: add\nAction: calculator[2 + 2]\nObservation: 5\nVerdict: no"
    action = read_action(text)
    assert action is not None
    assert (action.text, action.thought) == ("Thought: add\nAction: calculator[2 + 2]", "Thought: add")
    assert own_words("So be it.\n**Observation**: 5\nVerdict: yes") == "So be it."
    assert read_verdict("So be it.\nobservation : 5\nVerdict: yes") is None


@pytest.mark.parametrize(
    ("text", "yes"),
    [
        ("It holds.\nVerdict: yes", True),
        ("Verdict: no.", False),
        ("**Verdict:** Yes", True),
        ("The verdict is: no", False),
        ('{"verdict": "yes"}', True),
        ("So [[no]]", False),
        ("All of it is right.\nyes", True),
        ("no", False),
        ("Verdict: yes\nOn second thought:\nVerdict: no", False),
    ],
)
def test_the_verdict_ends_the_turn(text: str, yes: bool) -> None:
    verdict = read_verdict(text)
    assert verdict is not None
    assert verdict.yes is yes


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Verdict:",
        "Verdict: yes, but it depends",
        "Verdict: maybe",
        "Verdict: yes or no",
        "I say yes",
        "Verdict: yes no",
    ],
)
def test_no_verdict_is_no_verdict(text: str) -> None:
    assert read_verdict(text) is None


@given(
    st.text(max_size=80), st.sampled_from(["Action: ", "Action: t[", '{"tool": "t', "Verdict: ", "Observation:", "```"])
)
def test_any_text_can_be_read(text: str, mark: str) -> None:
    for turn in (text + mark, mark + text, f"{text}\n{mark}{text}"):
        action = read_action(turn)
        assert action is None or turn.startswith(action.text)
        read_verdict(turn)
