"""calibrate: what is measured of simulated judges whose faults are known; the file, the page, the command, the way back."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.calibrate import calibrate
from pipeline.engine import Completion, Request
from pipeline.errors import PlanError, RunError
from pipeline.store import Store
from stages.judges.calibration_file import Calibration, JudgeCalibration, read_calibration
from stages.judges.swap import sigmoid
from tests.conftest import Site

HERE = "tests.stages.judges.test_calibrate"
N = 600


def items(n: int = N, seed: int = 1) -> Iterator[dict[str, Any]]:
    """Gold items whose labels follow σ(δ), judged in both orders by judges that see δ through their own faults."""
    draw = random.Random(seed)
    for number in range(n):
        delta, longer = draw.gauss(0, 2), draw.choice((0, 200))
        label = "a" if draw.random() < float(sigmoid(delta)) else "b"

        def both(seen: float, bias: float = 0.0) -> dict[str, float]:
            return {"ab": float(sigmoid(seen + bias)), "ba": float(sigmoid(seen - bias))}

        pull = 1.0 if longer else -1.0  # of the longer answer
        hard = {"a": "b", "b": "a"}
        yield {
            "id": number,
            "prompt": f"question {number}",
            "response_a": "x" * (101 + longer),
            "response_b": "y" * 201,
            "label": "tie" if number % 50 == 0 else label,
            "domain": "even" if number % 2 == 0 else "odd",
            "adversarial": number % 3 == 0,
            "verdicts": {
                "calibrated": both(delta),
                "overconfident": both(3 * delta),
                "biased": both(delta, bias=1.5),
                "fond-of-length": both(0.5 * delta + pull),
                "upside-down": both(-delta),
                "coin": both(draw.gauss(0, 1)),
                "fails-often": {
                    "ab": "a" if delta > 0 else "b",
                    "ba": "parse_error" if draw.random() < 0.3 else "a" if delta > 0 else "b",
                },
                "one-order": label if draw.random() < 0.8 else hard[label],
                "rarely": both(delta) if number < 4 else {"ab": "refused", "ba": "refused"},
            },
            "rewards": {"rm": [delta + draw.gauss(0, 1), 0.0]},
        }


def written(path: Path, rows: Iterator[dict[str, Any]]) -> str:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return str(path)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Calibration, str]:
    """The calibration of the simulated judges, and its page."""
    folder = tmp_path_factory.mktemp("calibrate")
    calibrate(written(folder / "gold.jsonl", items()), str(folder / "out" / "c.json"))
    return read_calibration(folder / "out" / "c.json"), (folder / "out" / "c.html").read_text(encoding="utf-8")


def judge(measured: tuple[Calibration, str], name: str) -> JudgeCalibration:
    return measured[0].judges[f"recorded:{name}"]


def test_temperature_undoes_overconfidence(measured: tuple[Calibration, str]) -> None:
    assert judge(measured, "calibrated").temperature == pytest.approx(1.0, abs=0.25)
    assert judge(measured, "overconfident").temperature == pytest.approx(3.0, abs=0.75)
    assert judge(measured, "overconfident").ece == pytest.approx(judge(measured, "calibrated").ece or 0, abs=0.02)


def test_a_position_bias_is_measured_and_costs_no_accuracy(measured: tuple[Calibration, str]) -> None:
    assert judge(measured, "biased").position_bias == pytest.approx(1.5, abs=1e-6)
    assert judge(measured, "biased").accuracy == judge(measured, "calibrated").accuracy
    assert (judge(measured, "biased").order_consistency or 1) < 0.8
    assert judge(measured, "calibrated").order_consistency == 1.0


def test_a_pull_to_length_is_told_from_quality(measured: tuple[Calibration, str]) -> None:
    fond, fair = judge(measured, "fond-of-length"), judge(measured, "calibrated")
    gold = measured[0].gold.length_slope
    assert fond.excess_length(gold) > 0.3
    assert fair.excess_length(gold) < 0.1


def test_a_judge_below_chance_is_disabled_and_never_reversed_and_a_coin_hardly_heard(
    measured: tuple[Calibration, str],
) -> None:
    reversed_one = judge(measured, "upside-down")
    assert (reversed_one.enabled, reversed_one.weight_in(None), reversed_one.temperature) == (False, 0.0, None)
    assert judge(measured, "coin").weight_in(None) < 0.3


def test_a_judge_that_answered_little_is_not_trusted(measured: tuple[Calibration, str]) -> None:
    rarely = judge(measured, "rarely")
    assert not rarely.enabled
    assert rarely.parse_rate == pytest.approx(4 / N)
    assert rarely.refusal_rate == pytest.approx(1 - 4 / N)


def test_a_call_that_failed_is_missing_and_not_a_tie(measured: tuple[Calibration, str]) -> None:
    failing = judge(measured, "fails-often")
    assert failing.parse_rate == pytest.approx(0.85, abs=0.03)
    assert failing.n == pytest.approx(0.7 * 588, abs=30)


def test_a_judge_of_one_order_is_measured_in_that_one(measured: tuple[Calibration, str]) -> None:
    once = judge(measured, "one-order")
    assert (once.both_orders, once.position_bias) == (False, None)
    assert once.accuracy == pytest.approx(0.8, abs=0.04)


def test_a_reward_model_gets_a_temperature_too(measured: tuple[Calibration, str]) -> None:
    rewards = judge(measured, "rm")
    assert (rewards.kind, rewards.enabled) == ("rm", True)
    assert rewards.temperature == pytest.approx(1.5, abs=0.3)  # its noise is worth half a logit per logit


def test_the_gold_set_is_described(measured: tuple[Calibration, str]) -> None:
    gold = measured[0].gold
    assert (gold.items, gold.ties, gold.adversarial) == (N, 12, 200)
    assert gold.domains == {"even": 300, "odd": 300}
    assert judge(measured, "calibrated").domains["odd"].n == 300


def adversarial_items(n: int = 300) -> Iterator[dict[str, Any]]:
    """One good judge among four that fall for the same trap on three items of four, as in LLMBar; hard verdicts."""
    draw = random.Random(2)
    for number in range(n):
        label, trap = draw.choice("ab"), draw.random() < 0.75
        wrong = {"a": "b", "b": "a"}[label]
        fooled = [wrong if trap and draw.random() < 0.8 else label for _ in range(4)]
        said = {f"weak-{k}": {"ab": who, "ba": who} for k, who in enumerate(fooled)}
        good = label if draw.random() < 0.85 else wrong
        yield {
            "prompt": f"question {number}", "response_a": "x", "response_b": "y", "label": label,
            "adversarial": trap, "verdicts": {**said, "good": {"ab": good, "ba": good}},
        }  # fmt: skip


def test_a_calibrated_jury_follows_its_good_judge_where_equal_votes_follow_the_trap(tmp_path: Path) -> None:
    calibrate(written(tmp_path / "g.jsonl", adversarial_items()), str(tmp_path / "c.json"))
    found = read_calibration(tmp_path / "c.json")
    assert found.jury is not None
    assert found.jury.equal_votes < 0.5
    assert found.jury.calibrated == pytest.approx(found.jury.best_judge, abs=0.02)
    assert found.jury.calibrated > 0.8
    assert [name for name, judge in found.judges.items() if judge.enabled] == ["recorded:good"]
    assert found.error_correlation > 0.2


def test_juries_are_told_out_of_sample(measured: tuple[Calibration, str]) -> None:
    jury = measured[0].jury
    assert jury is not None
    assert jury.calibrated == pytest.approx(0.8, abs=0.02)  # labels follow σ(δ), so that nobody can do better
    assert jury.calibrated_ece < 0.15  # a mean of log-odds is meant to be conservative


def test_errors_of_judges_that_see_the_same_correlate(measured: tuple[Calibration, str]) -> None:
    found = measured[0].error_correlations["recorded:calibrated"]
    assert found["recorded:overconfident"] == pytest.approx(1.0)
    assert abs(found["recorded:coin"]) < 0.2
    assert measured[0].error_correlation >= 0


def test_the_page_stands_alone_and_shows_every_judge(measured: tuple[Calibration, str]) -> None:
    page = measured[1]
    assert "<script" not in page
    assert not re.search(r"(src|href)=|https?://|url\(", page.replace("http://www.w3.org/2000/svg", ""))
    assert page.count("<svg") == 2
    assert all(name in page for name in measured[0].judges)
    assert "nan" not in page


def test_the_name_of_a_judge_is_text_on_the_page(tmp_path: Path) -> None:
    row = {"prompt": "?", "response_a": "x", "response_b": "y", "label": "a", "verdicts": {"<b>me</b>": "a"}}
    calibrate(written(tmp_path / "g.jsonl", iter([row])), str(tmp_path / "c.json"))
    page = (tmp_path / "c.html").read_text(encoding="utf-8")
    assert "&lt;b&gt;me&lt;/b&gt;" in page
    assert "<b>me" not in page


def test_the_same_gold_file_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        calibrate(written(tmp_path / f"{name}.jsonl", items(80)), str(tmp_path / name / "c.json"))
    for file in ("c.json", "c.html"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_what_cannot_be_measured_is_one_line(tmp_path: Path) -> None:
    row = {"prompt": "?", "response_a": "x", "response_b": "y"}
    gold = written(tmp_path / "g.jsonl", iter([row]))
    with pytest.raises(RunError, match="no gold item has both a label and a verdict"):
        calibrate(gold, str(tmp_path / "c.json"))
    with pytest.raises(PlanError, match=r"must end with \.json"):
        calibrate(gold, str(tmp_path / "c.txt"))
    with pytest.raises(PlanError, match="has no judging job"):
        calibrate(gold, str(tmp_path / "c.json"), {"jobs": [{"stage": "prompts"}]})


def longer(request: Request) -> Completion:
    """A judge that scores the length of what it is shown."""
    assert request.messages is not None
    score = min(5, request.messages[-1].content.count("x") // 100 + 1)
    return Completion(
        f"Score: {score}", "stop", 50, 4, labels={str(k): -0.1 if k == score else -4.0 for k in range(1, 6)}
    )


def live(site: Site, **rate: Any) -> dict[str, Any]:
    return {
        "executor": "local",
        "runs_dir": str(site.folder / "runs"),
        "engines": {"judge": {"kind": "scripted", "function": f"{HERE}:longer"}},
        "jobs": [
            {"stage": "prompts", "path": "not used", "columns": {"prompt": "prompt"}},
            {"stage": "rate", "engine": "judge", "aspects": ["correctness"], "from": "prompts", **rate},
        ],
    }


def live_items(n: int) -> Iterator[dict[str, Any]]:
    for i in range(n):
        sides = ("x" * 300, "x") if i % 2 else ("x", "x" * 300)
        label = "ab"[(i + 1) % 2 if i % 10 else i % 2]  # the longer one, but for a tenth
        yield {"prompt": f"question {i}", "response_a": sides[0], "response_b": sides[1], "label": label}


def test_judging_jobs_of_a_config_are_measured_under_their_names_and_then_trusted_alone(site: Site) -> None:
    gold, target = written(site.folder / "g.jsonl", live_items(60)), site.folder / "c.json"
    calibrate(gold, str(target), live(site))
    (name, found), *rest = read_calibration(target).judges.items()
    assert (name, rest, found.kind) == ("rate:scripted", [], "score")
    assert found.accuracy == pytest.approx(0.9)
    assert found.template_hash is not None
    config = live(site) | {"name": "trusting"}
    config["jobs"] = [
        {"stage": "gold_items", "path": gold},
        {"stage": "rate", "engine": "judge", "aspects": ["correctness"]},
        {"stage": "aggregate", "calibration": str(target)},
    ]
    assert site.run(config).totals["aggregate"].counts["kept"] == 60
    config["jobs"][1]["name"] = "another"
    with pytest.raises(PlanError, match="the calibration knows no judge another:"):
        site.run(config | {"name": "other"})


def test_labels_that_signals_contradict_are_turned_round_in_a_run_and_replace_the_old_ones(site: Site) -> None:
    rows = list(items(200, seed=3))
    noisy = []
    for row in rows:
        strong = abs(row["verdicts"]["calibrated"]["ab"] - 0.5) > 0.4
        better = "a" if row["verdicts"]["calibrated"]["ab"] > 0.5 else "b"
        worse = {"a": "b", "b": "a"}[better]
        flipped = strong and int(row["id"]) % 5 == 1
        kept = {"calibrated", "overconfident"}
        verdicts = {judge: said for judge, said in row["verdicts"].items() if judge in kept}
        noisy.append(
            {
                **row,
                "label": worse if flipped else better,
                "verdicts": verdicts,
                "rewards": {},
                "domain": "f" if flipped else "t",
            }
        )
    gold = written(site.folder / "noisy.jsonl", iter(noisy))
    config = {
        "name": "repair", "executor": "local", "runs_dir": str(site.folder / "runs"),
        "jobs": [
            {"stage": "gold_items", "path": gold, "pairs": True},
            {"stage": "aggregate", "relabel": True, "second_opinion": ["recorded:overconfident"]},
            {"stage": "export", "format": "trl-dpo"},
        ],
    }  # fmt: skip
    driver = site.run(config)
    planted = sum(row["domain"] == "f" for row in noisy)
    assert planted > 4
    assert driver.totals["aggregate"].counts["flipped"] == planted
    assert driver.totals["export"].rows_out == driver.totals["aggregate"].rows_out < len(noisy)
    store = Store(str(site.folder / "runs" / "repair"))
    assert store.names("export")


def test_the_command_prints_where_it_wrote_and_what_was_left_out(site: Site) -> None:
    gold = written(site.folder / "g.jsonl", iter([*items(30), {"prompt": "?", "response_a": "x"}]))
    code, out, _ = site.command("calibrate", gold, "--to", str(site.folder / "c.json"))
    assert code == 0
    assert "30 of 31 gold rows" in out
    assert "reject:row:missing_response_b: 1" in out
    assert (site.folder / "c.html").exists()
    code, _, error = site.command("calibrate", gold, "--to", str(site.folder / "c.txt"))
    assert (code, error.count("\n")) == (2, 1)


def test_other_gold_items_or_judges_make_another_run_and_the_same_ones_go_on(site: Site) -> None:
    def runs() -> list[str]:
        return sorted(path.name for path in (site.folder / "runs").iterdir())

    gold, to = written(site.folder / "g.jsonl", items(20)), str(site.folder / "c.json")
    calibrate(gold, to, live(site))
    calibrate(gold, to, live(site))
    assert len(first := runs()) == 1
    calibrate(written(site.folder / "g.jsonl", items(24)), to, live(site))
    calibrate(gold, to, live(site, scale=[0, 4]))
    assert len(runs()) == 3
    calibrate(gold, to, live(site), name="mine")
    assert set(runs()) > {"mine", *first}
