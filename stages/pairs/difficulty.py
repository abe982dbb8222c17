"""How hard pairs are for the model they shall train, from log-probabilities stored before (spec judges C4). Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from pipeline.pair import Difficulty, Pair
from pipeline.records import Judgment
from stages.judges.likelihood import difficulty


def with_difficulty(pairs: Sequence[Pair], judgments: Sequence[Judgment], beta: float) -> list[Pair]:
    """The pairs with their column `difficulty`, where a job `score_likelihood` measured both arms; else as they are.

    beta: of the DPO to come. Several reference models: the one whose log-probabilities come last.
    """
    reference = {
        j.cand_ids[0]: (j.judge_id, j.value) for j in judgments if j.aspect == "logp_ref" and j.value is not None
    }
    rewards = {j.cand_ids[0]: j.value for j in judgments if j.aspect == "implicit_reward" and j.value is not None}
    return [_measured(pair, reference, rewards, beta) for pair in pairs]


def _measured(
    pair: Pair, reference: Mapping[str, tuple[str, float]], rewards: Mapping[str, float], beta: float
) -> Pair:
    arms = [arm.candidate_id for arm in (pair.chosen_gen, pair.rejected_gen) if arm is not None]
    logps = [reference[arm] for arm in arms if arm in reference]
    if len(logps) < 2 or logps[0][0] != logps[1][0]:
        return pair
    (model, chosen), (_, rejected) = logps
    hard = difficulty(chosen, rejected, beta, pair.soft_label if pair.pref_prob is None else pair.pref_prob)
    gaps = [rewards[arm] for arm in arms if arm in rewards]
    found = msgspec.structs.replace(
        pair.difficulty or Difficulty(),
        ref_model=model,
        ref_logratio=hard.ref_logratio,
        implicit_gap=gaps[0] - gaps[1] if len(gaps) == 2 else None,
        logp_ref_chosen=chosen,
        logp_ref_rejected=rejected,
        threshold=hard.threshold,
        ref_correct=hard.ref_correct,
        ideal_rank_ok=hard.ideal_rank_ok,
    )
    return msgspec.structs.replace(pair, difficulty=found)
