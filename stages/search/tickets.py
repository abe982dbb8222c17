"""What passes between a tree and the one that serves it: tickets out, answers in. Pure data."""

from __future__ import annotations

import hashlib
from typing import Literal

from msgspec import Struct

from pipeline.tree import Rollout


class Child(Struct, frozen=True, gc=False):
    """One reasoning step as it was sampled, and what verifiers and evaluators said of it.

    `final_answer`: what the step concludes, when it does. Raw scores as in the `nodes` table; None: not asked or failed.
    """

    text: str
    token_ids: tuple[int, ...]
    logprob_sum: float | None = None  # nats
    finish_reason: str = "stop"  # stop (step delimiter), eos, length, abort
    final_answer: str | None = None
    terminal_reason: str | None = None
    outcome: int | None = None
    multiplicity: int = 1
    self_eval: float | None = None
    judge_score: float | None = None
    prm_score: float | None = None
    rollouts: tuple[Rollout, ...] = ()
    source: str = "sampled"
    is_finish: bool = False


class Turn(Struct, frozen=True, gc=False):
    """An attempt in a turn tree, the final answer read in it, and what was said to it (None: nothing yet)."""

    attempt: str
    answer: str | None = None
    observation: str | None = None


class Ticket(Struct, frozen=True):
    """One request a tree wants answered.

    expand: `n` next steps of the node, up to `max_tokens` each; `finish`: to the end, without step stops.
    rollout: `n` completions of the node to their ends, cut into steps. The prompt of the request is the tree's prompt
    ids followed by `prefix_ids`; `prefix_text` is the same path as text.
    In mode ultra the path is `turns` of a conversation, the last not answered yet, and `prefix_text` is empty.
    """

    number: int
    kind: Literal["expand", "rollout"]
    node_id: int
    path: str
    depth: int  # of the node
    attempt: int
    sim: int
    n: int
    max_tokens: int
    finish: bool
    seed: int
    prefix_ids: tuple[int, ...]
    prefix_text: str
    turns: tuple[Turn, ...] = ()


class Answer(Struct, frozen=True):
    """The answer to a ticket: a branch of one child for each next step, or a branch of several for each roll-out.

    `error`: why there is none (the request can never be answered). `observation`: what the environment said to the
    attempt that was expanded (mode ultra), with the token ids between the attempt and the next one.
    """

    branches: tuple[tuple[Child, ...], ...] = ()
    prompt_tokens: int = 0
    gen_tokens: int = 0
    eval_tokens: int = 0
    error: str | None = None
    observation: str | None = None
    observation_ids: tuple[int, ...] = ()


def request_seed(run_seed: int, tree_id: str, path: str, kind: str, attempt: int) -> int:
    """The 31-bit sampling seed of a request (spec mcts R4)."""
    name = f"{run_seed}|{tree_id}|{path}|{kind}|{attempt}".encode()
    return int.from_bytes(hashlib.blake2b(name, digest_size=8).digest(), "big") & 0x7FFFFFFF
