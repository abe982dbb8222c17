"""How a model is asked for a rationale when it learns to write them (RDPO's second term; spec judges 1, C2). Pure."""

from __future__ import annotations


def asked_why(prompt: str, response_a: str, response_b: str) -> str:
    """The question whose answer is a rationale that names Response A and Response B. It does not tell the label."""
    return (
        f"{prompt}\n\n----\n\nTwo responses to this were given.\n\nResponse A:\n{response_a}\n\nResponse B:\n{response_b}"
        "\n\n----\n\nWhich response is better, and why?"
    )


def answered_why(text: str, statement: str) -> str:
    """The answer: the reasons, and the fixed sentence of the verdict at the end."""
    return f"{text}\n{statement}".strip()
