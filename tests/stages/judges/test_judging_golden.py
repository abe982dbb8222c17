"""The golden values of spec judges C9 that concern aggregation and calibration."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages.judges import calibration, cycles, jury, labels, ranking, swap
from stages.judges.length import length_controlled, length_term
from stages.pairs.select import mean_std

GOLDEN = Path(__file__).resolve().parents[4] / "shared" / "spec" / "golden" / "judges.json"
TRIO = np.array([[0.9, 0.6], [0.7, 0.4], [0.3, 0.6]])  # (P_AB, P_BA) of three judges
ACCURACIES = (0.9, 0.7, 0.6)


@pytest.fixture
def golden() -> dict[str, Any]:
    if not GOLDEN.exists():
        pytest.skip(f"no golden file at {GOLDEN}")
    found: dict[str, Any] = json.loads(GOLDEN.read_text(encoding="utf-8"))
    return found


def near(value: Any, tolerance: float = 1e-6) -> Any:
    return pytest.approx(value, abs=tolerance)


def test_two_orders(golden: dict[str, Any]) -> None:
    delta, bias = swap.debias(0.9, 0.6)
    assert float(delta) == near(golden["swap.logit"])
    assert float(swap.sigmoid(delta)) == near(golden["swap.logit_p"])
    assert float(bias) == near(golden["swap.bias_logit"])


def test_hard_jury(golden: dict[str, Any]) -> None:
    weights = np.array([jury.accuracy_weight(a) for a in ACCURACIES])
    votes = np.array([[1.0], [-1.0], [-1.0]])
    assert weights.tolist() == near(golden["jury.w"])
    assert jury.accuracy_weight(0.4) == golden["jury.clip"]
    assert jury.hard_jury(votes, weights).item() == near(golden["jury.logodds"])
    assert swap.sigmoid(jury.hard_jury(votes, weights)).item() == near(golden["jury.p"])
    assert jury.effective_judges(3, 0.4) == near(golden["jury.neff"])
    correlated = jury.hard_jury(votes, weights, 0.4)
    assert correlated.item() == near(golden["jury.logodds.corr"])
    assert swap.sigmoid(correlated).item() == near(golden["jury.p.corr"])


def test_moss_is_the_jury_of_equal_weights(golden: dict[str, Any]) -> None:
    gaps = np.array([[1.2], [0.4], [-0.3], [0.9], [0.8]])
    opinion = jury.soft_jury(gaps, np.ones(5))
    assert opinion.log_odds.item() == near(golden["moss.mu"])
    assert opinion.std.item() == near(golden["moss.sd_pop"])
    assert 1 - opinion.agreement.item() == near(golden["moss.frac_neg"])
    assert swap.sigmoid(opinion.log_odds).item() == near(golden["moss.p_meanlogit"])


def test_a_pair_from_end_to_end() -> None:
    delta, bias = swap.debias(TRIO[:, 0], TRIO[:, 1])
    opinion = jury.soft_jury(delta[:, None], np.array([jury.accuracy_weight(a) for a in ACCURACIES]))
    strength, p = opinion.log_odds.item(), swap.sigmoid(opinion.log_odds).item()
    assert delta.tolist() == near([0.895880, 0.626381, -0.626381])
    assert (strength, p, opinion.std.item()) == near((0.650786, 0.657188, 0.479696))
    assert opinion.agreement.item() == near(0.882473)
    assert int((np.abs(delta) > np.abs(bias)).sum()) == 2  # both orders on one side
    assert labels.label_columns(p) == {"soft_label": near(0.657188), "strength_signed_int": 1, "weight": 0.5}
    assert labels.margin(strength) == near(0.650786)
    assert not labels.is_ambiguous(p, strength, opinion.std.item(), same_scc=False)


def test_bradley_terry(golden: dict[str, Any]) -> None:
    wins = np.array([[0.0, 8, 9], [2, 0, 7], [1, 3, 0]])
    theta = ranking.bradley_terry(wins, prior=0.0)
    assert theta.tolist() == near(golden["bt.theta"], 1e-4)
    assert ranking.elo(theta).tolist() == near(golden["bt.elo"], 1e-2)
    assert swap.sigmoid(theta[0] - theta[1]).item() == near(golden["bt.p_AB"], 1e-4)


def test_davidson_and_borda(golden: dict[str, Any]) -> None:
    assert list(ranking.davidson(0.8, 0.5)) == near(golden["davidson"])
    p = np.array([[0.5, 0.8, 0.7], [0.2, 0.5, 0.4], [0.3, 0.6, 0.5]])
    assert ranking.borda(p).tolist() == near(golden["borda"])


def test_cycles(golden: dict[str, Any]) -> None:
    beats = np.zeros((4, 4), dtype=bool)
    for i, j in ((0, 1), (1, 2), (2, 0), (0, 3), (1, 3), (2, 3)):
        beats[i, j] = True
    assert cycles.circular_triads(beats) == golden["cyc.triads"]
    assert cycles.consistency(beats) == near(golden["cyc.zeta"])
    assert cycles.components(beats) == [0, 0, 0, 3]


def test_hodge(golden: dict[str, Any]) -> None:
    s, fraction = cycles.gradient(np.array([[0, 1.2, -0.5], [-1.2, 0, 0.9], [0.5, -0.9, 0]]))
    assert s.tolist() == near(golden["hodge.s"])
    assert fraction == near(golden["hodge.cyclic_frac"])


def test_gradient_of_the_cycle_emission_example() -> None:
    p = np.full((4, 4), 0.5)
    for i, j, value in ((0, 1, 0.8), (1, 2, 0.75), (2, 0, 0.7), (0, 3, 0.9), (1, 3, 0.9), (2, 3, 0.9)):
        p[i, j], p[j, i] = value, 1 - value
    s, fraction = cycles.gradient(swap.logit(p))
    assert fraction == near(0.203904)
    assert s.tolist() == near([0.684055, 0.477386, 0.486478, -1.647918])


def test_calibration_numbers(golden: dict[str, Any]) -> None:
    assert calibration.wilson_low(9, 10) == near(golden["wilson.9of10.z1.645"])
    assert calibration.wilson_low(55, 100) == near(golden["wilson.55of100.z1.645"])
    shrunk = calibration.shrunk_accuracy(15, 20, 0.7)
    assert shrunk == near(golden["acc.shrunk"])
    assert jury.accuracy_weight(shrunk) == near(golden["acc.shrunk.logit"])
    confidence, right = np.array([0.55, 0.65, 0.7, 0.8, 0.9, 0.95]), np.array([1.0, 0, 1, 1, 1, 0])
    edges = np.array([0.5, 0.75, 1.0])
    assert calibration.expected_calibration_error(confidence, right, edges) == near(golden["ece"])
    assert calibration.brier(confidence, right) == near(golden["brier"])
    kappa = calibration.cohen_kappa(np.array([1.0, 1, 0, 2, 1, 0]), np.array([1.0, 1, 0, 2, 2, 1]))
    assert kappa == near(golden["kappa"])


def test_length_control(golden: dict[str, Any]) -> None:
    term = length_term(np.array([200.0]), 200.0)
    raw = 0.3 + 0.6 * term
    assert swap.sigmoid(raw).item() == near(golden["lc.raw"])
    assert swap.sigmoid(length_controlled(raw, 0.6, term)).item() == near(golden["lc.adj"])


def test_strength(golden: dict[str, Any]) -> None:
    found = [labels.label_columns(p)["strength_signed_int"] for p in (0.5, 0.65, 0.99)]
    assert found == [golden[f"strength.int.p{p}"] for p in (0.5, 0.65, 0.99)]
    for step, edge in enumerate(golden["strength.edges"], 1):
        assert labels.label_columns(edge + 1e-9)["strength_signed_int"] == step
        assert labels.label_columns(edge - 1e-9)["strength_signed_int"] == step - 1


@pytest.mark.parametrize(
    ("jury_p", "rm_p", "decision"),
    [
        (0.2, 0.15, "flip"), (0.25, 0.25, "flip"), (0.2, 0.4, "ambiguous"), (0.8, 0.4, "keep_soft"),
        (0.52, 0.46, "ambiguous"), (0.9, 0.8, "keep"), (0.52, 0.53, "ambiguous"), (0.2, 0.75, "ambiguous"),
        (None, 0.1, "drop"), (None, 0.9, "keep"), (None, None, "drop"),
    ],
)  # fmt: skip
def test_decision_table(jury_p: float | None, rm_p: float | None, decision: str) -> None:
    assert labels.decide((jury_p, rm_p)) == decision


def test_population_moments_of_a_panel(golden: dict[str, Any]) -> None:
    z = []
    for panel in ((3.0, 4.0, 5.0), (6.0, 9.0, 9.0)):
        mean, std = mean_std(panel)
        z.append([(x - mean) / std for x in panel])
    assert [math.fsum(column) / 2 for column in zip(*z, strict=True)] == near(golden["jury.z"])
