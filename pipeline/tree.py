"""Search trees as rows (spec mcts R1): one `Tree` for each prompt searched, one `Node` for each reasoning step found.

A `Fork` is what a pair keeps of the tree it came from. Lossless: every number of a finished search is a column. No clock
and no joined text: prompts and references are joined by `prompt_id`. `None` means "not known".
"""

from __future__ import annotations

from pipeline.records import Part, Record


class Rollout(Part, frozen=True):
    """One completion of a prefix to its end. outcome: +1 right, -1 wrong, None not decided."""

    text: str
    token_ids: tuple[int, ...]
    outcome: int | None = None
    final_answer: str | None = None
    finish_reason: str = "eos"
    logprob_sum: float | None = None


class Tree(Record, frozen=True, kw_only=True):
    """One search. `status`: exhausted, budget_sims, budget_nodes, budget_tokens, budget_time, solved_enough,
    skipped_trivial, failed; recorded: made by another program."""

    tree_id: str
    job: str
    prompt_token_ids: tuple[int, ...] = ()
    config_json: str = "{}"
    config_hash: str = ""
    policy_model: str | None = None
    judge_model: str | None = None
    tokenizer_hash: str | None = None
    seed: int = 0
    hinted: bool = False  # an evaluator or a reviewer of attempts saw the reference
    status: str = ""
    n_sims: int = 0
    n_nodes: int = 0
    n_terminal: int = 0
    n_correct: int = 0
    n_wrong: int = 0
    n_unknown: int = 0
    root_mc: float | None = None
    gen_tokens: int = 0
    prompt_tokens: int = 0
    eval_tokens: int = 0
    error: str | None = None


class Node(Record, frozen=True, kw_only=True):
    """One reasoning step and what the search learned of it; node 0 is the prompt itself.

    visits, value_sum and q are N, W and Q of the literature; under the `advantage` back-up value_sum is V, the
    visit-weighted mean of the children's Q. own_visits (E) counts values backed up from this very node. terminals,
    correct and wrong count the distinct ends at or below it; mc is the share of right ones among mc_n decided samples.
    """

    tree_id: str
    node_id: int  # order of creation
    parent_id: int | None = None
    child_index: int = 0
    depth: int = 0
    path: str = "0"  # child indices from the root: 0.2.1
    step_text: str = ""
    step_token_ids: tuple[int, ...] = ()
    n_tokens: int = 0
    logprob_sum: float | None = None  # nats
    prior: float = 1.0
    multiplicity: int = 1  # samples merged into it
    finish_reason: str = "stop"  # stop (step delimiter), eos, length, abort
    is_terminal: bool = False
    terminal_reason: str | None = None  # answer, max_depth, max_tokens, repetition, no_valid_child, error
    final_answer: str | None = None
    outcome: int | None = None  # +1, -1; None: not decided
    self_eval: float | None = None  # [0, 1]
    judge_score: float | None = None  # [-1, 1]
    prm_score: float | None = None  # [0, 1]
    mc_rollout: float | None = None  # rollouts_c / rollouts_n
    rollouts_n: int = 0  # decided roll-outs from here
    rollouts_c: int = 0  # right ones
    rollouts: tuple[Rollout, ...] = ()  # those that are no nodes
    value: float | None = None
    own_visits: int = 0
    visits: int = 0
    value_sum: float = 0.0
    q: float = 0.0
    advantage: float = 0.0  # q - q of the parent
    terminals: int = 0
    correct: int = 0
    wrong: int = 0
    mc: float | None = None
    mc_n: int = 0
    expanded: bool = False
    exhausted: bool = False
    on_best_path: bool = False
    created_sim: int = 0
    seed: int = 0  # of the request that made it
    source: str = "sampled"  # sampled, reference
    is_finish: bool = False  # generated to the end without step stops
    observation: str | None = None  # what the environment said to this attempt (turn trees)
    observation_token_ids: tuple[int, ...] = ()  # from the end of the attempt to where the next one begins


class Fork(Part, frozen=True):
    """Where in a search tree the two arms part, and what the search knew of both (spec mcts R5).

    Token ids: of the prompt with the shared prefix (empty where a chat template wrote earlier turns in other tokens
    than the policy), and of each arm; `lcp_tokens`: how many the two arms begin with in
    common, to be masked from the loss. mc: share of right ends among mc_n decided ones.
    """

    tree_id: str
    prefix_node_id: str
    chosen_node_id: str
    rejected_node_id: str
    step_index: int
    n_steps_chosen: int | None = None
    n_steps_rejected: int | None = None
    prefix_value: float | None = None
    chosen_value: float | None = None
    rejected_value: float | None = None
    chosen_visits: int | None = None
    rejected_visits: int | None = None
    chosen_advantage: float | None = None
    rejected_advantage: float | None = None
    value_kind: str | None = None  # q, mc, advantage, value
    rule: str | None = None
    form: str | None = None  # step, chain, rollout, trajectory
    prompt_token_ids: tuple[int, ...] = ()
    chosen_token_ids: tuple[int, ...] = ()
    rejected_token_ids: tuple[int, ...] = ()
    lcp_tokens: int = 0
    chosen_mc: float | None = None
    rejected_mc: float | None = None
    chosen_mc_n: int | None = None
    rejected_mc_n: int | None = None
    alpha_visits: float | None = None  # label noise by visits, at most 1/2
    p_better: float | None = None  # probability that chosen is solved more often, Beta posteriors
    chosen_logp: float | None = None  # of the arm under the policy, nats
    rejected_logp: float | None = None
    hinted: bool = False  # an evaluator saw the reference


class Trace(Record, frozen=True, kw_only=True):
    """One whole answer of a tree, or a prefix that never came right, with a label for each step up to its first wrong
    one (process reward models).

    soft: share of right ends behind the step; hard: 1 or 0; None: too few samples. first_error: index from 0, None when
    no step is labelled 0. consensus: whether the critic of the search found the same one; None where it was not asked.
    """

    trace_id: str
    tree_id: str
    leaf_id: int  # node_id of its last step
    steps: tuple[str, ...]
    soft: tuple[float | None, ...]
    hard: tuple[int | None, ...]
    outcome: int  # +1 right, -1 wrong
    first_error: int | None = None
    consensus: bool | None = None


class RankedAnswer(Part, frozen=True):
    """A place in a ranking. score on [-1, 1]; margin: to the next place; shared_steps: in common with the best."""

    leaf_id: int
    steps: tuple[str, ...]
    token_ids: tuple[int, ...]
    score: float
    outcome: int
    margin: float | None
    shared_steps: int


class Ranking(Record, frozen=True, kw_only=True):
    """Whole answers of one tree, best first (TPO)."""

    ranking_id: str
    tree_id: str
    prompt_token_ids: tuple[int, ...]
    answers: tuple[RankedAnswer, ...]


class Thumb(Record, frozen=True, kw_only=True):
    """One step with a thumb up or down (KTO). weight: how far its score lies from the middle.

    `prefix`: the steps before it; `ended`: whether the policy ended the answer with it.
    """

    thumb_id: str
    tree_id: str
    node_id: int
    prefix: str
    text: str
    prompt_token_ids: tuple[int, ...]  # prefix included
    token_ids: tuple[int, ...]
    up: bool
    weight: float
    ended: bool
