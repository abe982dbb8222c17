"""The canonical pair: one row that says which of two arms is better, why we think so, and where both came from.

Columns follow spec pairs 17.1 (`pairs/1.0`) and the label columns of spec judges C1. The names that trainers read or
misread (prompt, chosen, rejected, messages, completion, label, margin, …) are left to the exports.
"""

from __future__ import annotations

from pipeline.records import Message, Part, Record, Source
from pipeline.tree import Fork


class Attribute(Part, frozen=True):
    """One attribute of a context or persona."""

    name: str
    value: str
    importance: float | None = None
    kind: str | None = None


class Context(Part, frozen=True):
    """Under which condition the preference holds."""

    type: str
    text: str
    placement: str
    source: str | None = None
    attributes: tuple[Attribute, ...] = ()


class Rater(Part, frozen=True):
    """Whose preference it is."""

    rater_id: str
    rater_type: str | None = None
    group: str | None = None
    profile_json: str | None = None


class Votes(Part, frozen=True):
    """Votes of judges; `invalid` never counts for a side."""

    chosen: int = 0
    rejected: int = 0
    tie: int = 0
    invalid: int = 0


class Score(Part, frozen=True):
    """One judge's score of one arm: `raw` on its scale, `normalized` on [0, 1]; n samples, population std."""

    arm: str  # chosen | rejected
    judge: str
    aspect: str | None
    raw: float
    normalized: float
    scale_min: float
    scale_max: float
    n: int
    std: float
    order: int | None = None


class Signal(Part, frozen=True):
    """What one judge thought of a pair: log-odds of chosen over rejected as the jury heard them, and before calibration."""

    judge: str
    log_odds: float
    raw: float
    weight: float


class Constraint(Part, frozen=True):
    """A verifiable instruction and whether each arm keeps it (None: could not be decided)."""

    constraint_id: str
    family: str
    text: str
    kwargs_json: str
    polarity: str  # original, reversed, derived_true, derived_false
    in_chosen_prompt: bool
    in_rejected_prompt: bool
    chosen_ok: bool | None
    rejected_ok: bool | None
    checker: str
    checker_version: str
    origin: str


class Step(Part, frozen=True):
    """One reasoning step with its value and label."""

    text: str
    value: float | None = None
    label: bool | None = None


class Generation(Part, frozen=True):
    """How one arm was made."""

    candidate_id: str
    model: str | None = None
    model_revision: str | None = None
    engine: str | None = None
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    max_tokens: int | None = None
    finish_reason: str | None = None
    n_tokens: int | None = None
    policy_relation: str | None = None
    gen_context_id: str | None = None
    mean_logp: float | None = None


class Selection(Part, frozen=True):
    """Which rule picked the pair out of which pool (ranks from 1; population mean and std)."""

    strategy: str
    n_candidates: int
    chosen_rank: int
    rejected_rank: int
    pool_mean: float
    pool_std: float
    chosen_z: float | None
    rejected_z: float | None
    params_json: str


class Difficulty(Part, frozen=True):
    """How hard the pair is for a reference model.

    ref_logratio: log πref(rejected) - log πref(chosen), nats, sums over response tokens. threshold: the DPO loss below
    which the pair is ranked right. ref_correct: the reference ranks it right. ideal_rank_ok: the ideal policy does.
    implicit_gap: implicit reward of chosen minus that of rejected.
    """

    ref_model: str | None = None
    ref_logratio: float | None = None
    implicit_gap: float | None = None
    pass_rate: float | None = None
    logp_ref_chosen: float | None = None
    logp_ref_rejected: float | None = None
    threshold: float | None = None
    ref_correct: bool | None = None
    ideal_rank_ok: bool | None = None


class FilterResult(Part, frozen=True):
    """One verification rule with what it measured."""

    name: str
    passed: bool
    value: float | None = None
    threshold: float | None = None


class Lineage(Part, frozen=True):
    """Which code and config made the row."""

    run_id: str
    stage: str
    stage_version: str
    code_version: str
    config_hash: str
    seed: int
    parent_ids: tuple[str, ...] = ()


class Pair(Record, frozen=True, kw_only=True):
    """A better and a worse arm. `rejected_prompt_messages` is None when both arms answer the same prompt."""

    schema_version: str = "pairs/1.0"
    pair_id: str
    unordered_id: str
    base_prompt_id: str
    context_id: str | None = None
    group_id: str | None = None
    group_role: str | None = None
    group_size: int | None = None
    kind: str
    level: str  # response, step, segment, prompt, joint; judgment, rationale: of the judge and the author themselves
    split: str = "train"
    prompt_messages: tuple[Message, ...]
    rejected_prompt_messages: tuple[Message, ...] | None = None
    assistant_prefix: str | None = None
    chosen_messages: tuple[Message, ...]
    rejected_messages: tuple[Message, ...]
    chosen_terminal: bool = True
    rejected_terminal: bool = True
    chosen_tail: str | None = None
    rejected_tail: str | None = None
    tools_json: str | None = None
    context: Context | None = None
    rater: Rater | None = None
    history_pair_ids: tuple[str, ...] | None = None
    label_source: str  # checker, verifier, human, votes, judge, rm, construction, given
    chosen_score: float | None = None  # how good the answer is by itself; None where only the better one is known
    rejected_score: float | None = None
    score_gap: float | None = None
    margin_logit: float | None = None  # logits, None unless calibrated
    strength: float | None = None
    strength_std: float | None = None
    strength_signed_int: int | None = None
    pref_prob: float | None = None
    soft_label: float | None = None
    weight: float | None = None
    strength_bucket: str | None = None
    votes: Votes | None = None
    position_consistent: bool | None = None
    dominance: str | None = None  # strict_pareto, weighted, scalar, votes, checker
    n_judges: int | None = None
    n_orders_consistent: float | None = None
    agreement: float | None = None
    ambiguous: bool | None = None
    label_flipped: bool | None = None
    original_chosen_id: str | None = None
    cyclic_fraction: float | None = None
    same_scc: bool | None = None
    scores: tuple[Score, ...] = ()
    signals: tuple[Signal, ...] = ()
    constraints: tuple[Constraint, ...] | None = None
    rationale: str | None = None
    rationale_chosen: str | None = None
    rationale_rejected: str | None = None
    rationale_kind: str | None = None
    rationale_model: str | None = None
    rationale_score: float | None = None
    tree: Fork | None = None
    chosen_steps: tuple[Step, ...] | None = None
    rejected_steps: tuple[Step, ...] | None = None
    chosen_gen: Generation | None = None
    rejected_gen: Generation | None = None
    selection: Selection | None = None
    difficulty: Difficulty | None = None
    filters: tuple[FilterResult, ...] = ()
    dedup_cluster_id: str | None = None
    decontam_hits: tuple[str, ...] | None = None
    flags: tuple[str, ...] | None = None
    source: Source = Source()
    lineage: Lineage | None = None
    ext_json: str | None = None
