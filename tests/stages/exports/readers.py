"""What trainers that are not installed make of a row, by their documented rules (spec pairs 16): prompt, chosen, rejected.

Each raises AssertionError for a row that the trainer would drop or misread.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Row = Mapping[str, Any]
Turns = list[dict[str, str]]
EOS = "<|end|>"


def render(turns: Turns, answering: bool = False) -> str:
    """The chat template of the embedded model."""
    text = "".join(f"<|{turn['role']}|>{turn['content']}{EOS}" for turn in turns)
    return text + ("<|assistant|>" if answering else "")


def openrlhf(row: Row) -> tuple[str, str, str]:
    """With --data.apply_chat_template and all three keys: both texts are cut at the length of the rendered prompt."""
    prompt = render(row["prompt"], answering=True)
    texts = [render([*row["prompt"], *row[side]]) for side in ("chosen", "rejected")]
    assert all(text.startswith(prompt) for text in texts)
    assert row.get("margin", 0.0) is not None
    chosen, rejected = (text[len(prompt) :].rstrip("\n") for text in texts)
    assert chosen.endswith(EOS)  # else it would append a blank and EOS
    assert rejected.endswith(EOS)
    return prompt, chosen, rejected


def llama_factory(row: Row) -> tuple[str, str, str]:
    """Sharegpt ranking: an optional system message, then an odd number of alternating turns; answers are dicts."""
    turns = list(row["conversations"])
    head = [turns.pop(0)] if turns[0]["role"] == "system" else []
    assert len(turns) % 2 == 1
    assert all(turn["role"] == ("user", "assistant")[place % 2] for place, turn in enumerate(turns))
    assert isinstance(row["chosen"], dict)
    assert isinstance(row["rejected"], dict)
    assert row["chosen"]["role"] == row["rejected"]["role"] == "assistant"
    prompt = render([*head, *turns], answering=True)
    return prompt, f"{row['chosen']['content']}{EOS}", f"{row['rejected']['content']}{EOS}"


def axolotl(row: Row) -> tuple[str, str, str]:
    """chat_template.default: the answer is what follows its first occurrence in a rendered dialogue."""
    found = []
    for side in ("chosen", "rejected"):
        text = render([{"role": "user", "content": "[[dummy_message]]"}, row[side]])
        found.append(text[text.find(row[side]["content"]) :].rstrip())
        assert found[-1] == f"{row[side]['content']}{EOS}"
    return render(row["messages"], answering=True), found[0], found[1]


def verl(row: Row) -> tuple[str, str, str]:
    """RMDataset: three strings, tokenized apart, EOS behind both answers."""
    assert all(isinstance(row[side], str) for side in ("prompt", "chosen", "rejected"))
    return row["prompt"], row["chosen"] + EOS, row["rejected"] + EOS


def nemo_aligner(row: Row) -> tuple[str, str, str]:
    """Strings as they are; rewards, where the column is, are numbers."""
    for side in ("chosen", "rejected"):
        assert isinstance(row.get(f"{side}_reward", 0.0), float)
    return row["prompt"], row["chosen_response"], row["rejected_response"]


def open_instruct(row: Row) -> tuple[str, str, str]:
    """Both conversations share all but the last turn, which is the assistant's."""
    chosen, rejected = row["chosen"], row["rejected"]
    assert chosen[:-1] == rejected[:-1]
    assert chosen[-1]["role"] == rejected[-1]["role"] == "assistant"
    assert chosen[-1]["content"] != rejected[-1]["content"]
    return render(chosen[:-1], answering=True), chosen[-1]["content"] + EOS, rejected[-1]["content"] + EOS


def stepwise(row: Row, separator: str = "\n") -> tuple[str, list[bool]]:
    """PRMTrainer and stepwise_supervised: prompt, then each step and a separator, on whose last token its label stands."""
    assert len(row["completions"]) == len(row["labels"]) > 0
    assert all(isinstance(label, bool) for label in row["labels"])
    assert all(step and step == step.strip() for step in row["completions"])
    return separator.join((row["prompt"], *row["completions"])), list(row["labels"])


def iopo(row: Row) -> dict[tuple[str, str], bool]:
    """Which answer is right for which prompt: chosen for the first, rejected for the second."""
    first, second = (turn["content"] for turn in row["conversations"])
    assert [turn["role"] for turn in row["conversations"]] == ["user", "user"]
    one, two = row["chosen"]["content"], row["rejected"]["content"]
    return {(first, one): True, (first, two): False, (second, two): True, (second, one): False}


PAIRWISE: Mapping[str, Callable[[Row], tuple[str, str, str]]] = {
    "openrlhf": openrlhf,
    "llama-factory": llama_factory,
    "axolotl": axolotl,
    "verl": verl,
    "nemo-aligner": nemo_aligner,
    "open-instruct": open_instruct,
}
