"""What a search may do: the fields of the `search` stage that decide the tree (spec mcts R2, R6)."""

from __future__ import annotations

from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator

ValueSource = Literal["self_eval", "judge_score", "prm_score", "mc_rollout"]


class _Block(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ValueRules(_Block):
    """How raw scores become a value. Weights of sources that gave nothing are dropped, the rest renormalised.

    form: `centred` maps every source to [-1, 1] and lets a known outcome decide; `additive` is MCTS-DPO's
    self_eval / max(parent depth - 3, 1) + outcome. good, bad: bounds at which the value of an end without outcome counts
    as right or wrong (open-ended tasks).
    """

    weights: dict[ValueSource, float] = Field(default_factory=lambda: dict.fromkeys(get_args(ValueSource), 1.0))
    form: Literal["centred", "additive"] = "centred"
    length_shaping: bool = False  # divide by max(parent depth - 3, 1)
    good: float | None = Field(None, ge=-1, le=1)
    bad: float | None = Field(None, ge=-1, le=1)


class Prefilter(_Block):
    """Roll-outs of the prompt before the search; outside [low, high] right it is skipped as trivial.

    The modes that begin with roll-outs of their own (omega, eptree) are judged by those.
    """

    rollouts: int = Field(8, ge=1)
    low: float = Field(0.1, ge=0, le=1)
    high: float = Field(0.9, ge=0, le=1)


class OmegaRules(_Block):
    """OmegaPRM (arXiv 2406.06592): which wrong roll-out is searched next, and how many are drawn.

    Score alpha^(1 - mc) · beta^(words / length) + c · sqrt(sum of searches) / (1 + searches of the state).
    """

    rollouts: int = Field(16, ge=1)  # of each probed prefix
    max_rollouts: int = Field(200, ge=1)  # of a tree
    alpha: float = Field(0.5, gt=0, le=1)
    beta: float = Field(0.9, gt=0, le=1)
    length: int = Field(500, ge=1)  # words
    c: float = Field(0.125, ge=0)
    confirm: bool = True  # probe the first error and the step before it once more


class EntropyRules(_Block):
    """EPTree (TreeRL): whole chains, then in each round new continuations at the most uncertain steps."""

    chains: int = Field(6, ge=1)
    forks: int = Field(2, ge=1)  # steps branched in a round
    branches: int = Field(2, ge=1)  # continuations of each
    rounds: int = Field(1, ge=0)


class SearchRules(_Block):
    """The rules of one search. Values lie in [-1, 1] except under the `additive` form; `c` is in their units."""

    mode: Literal["frontier", "trajectory", "omega", "eptree", "ultra"] = "frontier"
    select: Literal["puct", "puct_az", "uct", "uct_sqrt2"] = "puct"
    c: float = Field(1.25, ge=0)
    c_base: float = Field(19652, gt=0)  # puct_az
    c_init: float = Field(1.25, ge=0)  # puct_az
    fpu: Literal["inf", "parent_q", "prior_value", "zero"] = "inf"  # uct: the score of a child never visited
    fpu_reduction: float = 0.0  # parent_q: what is taken off
    in_flight: int = Field(1, ge=1)  # tickets of one tree at a time
    in_flight_rule: Literal["wu", "virtual_loss"] = "wu"
    virtual_loss: float = Field(1.0, ge=0)
    backup: Literal["mean", "advantage", "max", "discounted"] = "mean"
    gamma: float = Field(1.0, gt=0, le=1)
    revisit: bool = False  # whether ends may be selected again
    prior: Literal["uniform", "empirical", "logp_mean", "logp_len"] = "logp_mean"
    prior_temperature: float = Field(1.0, gt=0)  # logp_mean
    length_penalty: float = Field(1.25, ge=0)  # logp_len
    width_root: int = Field(4, ge=1)
    width: int = Field(3, ge=1)
    max_depth: int = Field(12, ge=1)  # steps, with reroot_sims from the chosen one on; turns in mode ultra
    step_tokens: int = Field(256, ge=1)
    min_step_tokens: int = Field(0, ge=0)  # shorter steps are joined with what follows, until the answer ends
    max_tokens: int = Field(2048, ge=1)  # of a whole answer
    sims: int = Field(24, ge=1)
    reroot_sims: int = Field(0, ge=0)  # trajectory: after `sims` choose a step, so many from there, and so on; 0: never
    max_nodes: int | None = Field(None, ge=1)
    max_gen_tokens: int | None = Field(None, ge=1)  # written for the tree: steps, roll-outs, and what critics write
    enough_pairs: int | None = Field(None, ge=1)  # stop at so many right-against-wrong sibling pairs …
    enough_margin: float = Field(0.5, ge=0)  # … whose Q differ by at least this
    retries: int = Field(2, ge=0)  # of an expansion that gave no child
    keep_truncated: bool = False
    count_invalid_as_wrong: bool = False  # ends without an answer: outcome -1 instead of None
    invalid_stays: bool = False  # … and goes no further up than the end itself (rStar-Math)
    near_duplicate: float = Field(0.0, ge=0, lt=1)  # merge siblings at a normalised edit distance below; 0: never
    repetition_window: int = Field(32, ge=1)  # characters
    repetition_times: int = Field(8, ge=2)
    values: ValueRules = ValueRules()
    prefilter: Prefilter | None = None
    omega: OmegaRules = OmegaRules()
    eptree: EntropyRules = EntropyRules()

    @model_validator(mode="after")
    def _fits_together(self) -> SearchRules:
        if self.in_flight > 1 and self.mode not in ("frontier", "eptree"):
            raise ValueError(f"in_flight must be 1 in mode {self.mode}: each request waits for the one before it")
        if self.min_step_tokens > self.step_tokens:
            raise ValueError(f"min_step_tokens {self.min_step_tokens} is more than step_tokens {self.step_tokens}")
        if self.backup == "advantage" and self.mode != "trajectory":
            raise ValueError("backup advantage walks whole paths; it needs mode trajectory")
        if self.reroot_sims and self.mode != "trajectory":
            raise ValueError("reroot_sims chooses steps between simulations; it needs mode trajectory")
        if self.values.form == "additive" and self.backup != "advantage":
            raise ValueError("values.form additive leaves [-1, 1]; it needs backup advantage")
        return self
