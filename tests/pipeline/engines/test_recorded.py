"""The recorded engine: answers from a file or from a run."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.engine import Request, RewardRequest, Sampling, ScoreRequest
from pipeline.engines.recorded import Recorded
from pipeline.errors import PlanError, Rejected
from pipeline.records import Candidate, Judgment, LabelProb, Message, Rationale
from pipeline.store import Store


def ask(key: str = "k", text: str = "hello", n: int = 1, system: str | None = None) -> Request:
    turns = (*((Message("system", system),) if system else ()), Message("user", text))
    return Request(Sampling(n=n), key, 1, messages=turns)


def written(tmp_path: Path, *rows: object) -> Recorded:
    path = tmp_path / "answers.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)) + "\n\n", encoding="utf-8")
    return Recorded(path=str(path))


async def texts(config: Recorded, request: Request) -> list[str]:
    engine = await config.open()
    [answers] = await engine.generate([request])
    return [a.text for a in answers]


async def test_a_request_is_found_by_key_then_by_messages_then_by_its_last_user_text(tmp_path: Path) -> None:
    config = written(
        tmp_path,
        {"prompt": "hello", "completions": ["by text"]},
        {"messages": [{"role": "user", "content": "hello"}], "completions": ["by messages"]},
        {"key": "mine", "completions": ["by key"]},
    )
    assert await texts(config, ask("mine")) == ["by key"]
    assert await texts(config, ask("other")) == ["by messages"]
    assert await texts(config, ask("other", system="be brief")) == ["by text"]


async def test_rows_of_the_same_prompt_add_up_and_n_takes_the_first(tmp_path: Path) -> None:
    config = written(
        tmp_path,
        {
            "prompt": "hello",
            "completions": ["a", {"text": "b", "finish_reason": "length", "model": "m", "n_tokens": 5}],
        },
        {"prompt": "hello", "completions": ["c"]},
    )
    engine = await config.open()
    [[_, second]] = await engine.generate([ask(n=2)])
    assert (second.text, second.finish_reason, second.model, second.n_tokens) == ("b", "length", "m", 5)
    assert await texts(config, ask(n=3)) == ["a", "b", "c"]
    assert engine.stats() == {"requests": 1, "prompt_tokens": 0, "tokens": 6}


async def test_more_samples_than_recorded_are_rejected_with_both_counts_and_never_repeated(tmp_path: Path) -> None:
    config = written(tmp_path, {"prompt": "hello", "completions": ["a", "b"]})
    with pytest.raises(Rejected, match="not_recorded: 3 answers asked, 2 recorded"):
        await texts(config, ask(n=3))


async def test_an_unknown_request_is_rejected(tmp_path: Path) -> None:
    config = written(tmp_path, {"prompt": "hello", "completions": ["a"]})
    with pytest.raises(Rejected, match="not_recorded: nothing is recorded"):
        await texts(config, ask(text="another"))


@pytest.mark.parametrize(
    "row",
    [
        {"completions": ["a"]},
        {"prompt": "x"},
        {"prompt": "x", "completions": [3]},
        ["x"],
        {"prompt": "x", "completions": [{}]},
    ],
)
async def test_a_row_that_is_not_as_described_names_file_and_row(tmp_path: Path, row: object) -> None:
    config = written(tmp_path, {"prompt": "ok", "completions": ["a"]}, row)
    with pytest.raises(PlanError, match=r"answers.jsonl, row 2: .*expected"):
        await config.open()


async def test_a_line_that_is_not_json_names_file_and_row(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_bytes(b'{"prompt": "a", "completions": ["b"]}\n{"prompt": "\xff"\n')
    with pytest.raises(PlanError, match="row 2 is not JSON"):
        await Recorded(path=str(tmp_path / "x.jsonl")).open()


async def test_a_parquet_file_reads_like_jsonl(tmp_path: Path) -> None:
    rows = [
        {"key": None, "prompt": "hello", "completions": [{"text": "a"}]},
        {"key": "k2", "prompt": None, "completions": [{"text": "b"}]},
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "x.parquet")
    config = Recorded(path=str(tmp_path / "x.parquet"))
    assert await texts(config, ask()) == ["a"]
    assert await texts(config, ask("k2", text="none")) == ["b"]


def test_a_path_without_recordings_is_a_plan_error(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for path in ("missing.jsonl", str(tmp_path / "empty"), str(tmp_path)):
        with pytest.raises(PlanError, match="recorded path"):
            Recorded(path=path).check()


def test_identity_is_the_content_and_not_the_place(tmp_path: Path) -> None:
    for folder, text in (("a", "x"), ("b", "x"), ("c", "y")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "answers.jsonl").write_text(json.dumps({"prompt": text, "completions": ["1"]}))
    same, moved, other = (Recorded(path=str(tmp_path / f / "answers.jsonl")).identity() for f in "abc")
    assert same == moved
    assert same != other


async def test_a_run_replays_its_candidates_judgments_and_rationales(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "run"))
    candidates = [
        Candidate("p", f"c{i}", f"answer {i}", "generate", i, finish_reason="stop", n_tokens=i + 1) for i in (1, 0)
    ]
    store.write("generate", 0, {Candidate: candidates}, {})
    judgments = [
        Judgment("p", "j1", "rate", "rubric", "judge", ("c0",), "ok", raw_text="Score: 4", n_in=9, n_out=3,
                 label_probs=(LabelProb("4", 0.75), LabelProb("5", 0.25)), label_mass=0.8),
        Judgment("p", "j2", "rate", "rubric", "judge", ("c1",), "truncated", raw_text="Score"),
        Judgment("p", "j3", "rate", "rubric", "judge", ("c1",), "too_long"),
    ]  # fmt: skip
    store.write("rate", 0, {Judgment: judgments}, {})
    rationale = Rationale(
        "p",
        "r1",
        "pair",
        "explain",
        None,
        None,
        "general",
        "json",
        False,
        0,
        "m",
        0,
        "ok",
        raw_text="because",
        n_tokens=1,
    )
    store.write("explain", 0, {Rationale: [rationale]}, {})

    engine = await Recorded(path=str(tmp_path / "run")).open()
    [answers] = await engine.generate([ask("generate:p", n=2)])
    assert [(a.text, a.n_tokens) for a in answers] == [("answer 0", 1), ("answer 1", 2)]
    [[verdict], [cut], [why]] = await engine.generate([ask("j1"), ask("j2"), ask("r1")])
    assert verdict.labels is not None
    assert verdict.labels == pytest.approx({"4": math.log(0.6), "5": math.log(0.2)})
    assert (verdict.text, verdict.n_prompt_tokens, verdict.n_tokens) == ("Score: 4", 9, 3)
    assert (cut.finish_reason, why.text) == ("length", "because")
    with pytest.raises(Rejected, match="not_recorded"):
        await engine.generate([ask("j3")])


async def test_rewards_scores_and_embeddings_are_replayed_by_what_they_are_of(tmp_path: Path) -> None:
    hello, answer = {"role": "user", "content": "hello"}, {"role": "assistant", "content": "a<s>b<s>"}
    config = written(
        tmp_path,
        {"key": "mine", "rewards": [1.5]},
        {"messages": [hello, answer], "rewards": [1, 2]},
        {"prompt": "hello", "continuation": "hi", "logps": [-0.5, -1]},
        {"text": "hello", "embedding": [3, 4]},
        {"prompt": "hello", "completions": ["a"]},
    )
    engine, said = await config.open(), (Message("user", "hello"),)
    assert config.capabilities() >= {"reward", "score", "embed", "generate"}
    by_steps = RewardRequest("x", said, steps=("a", "b"), step_tag="<s>")
    assert await engine.reward([RewardRequest("mine"), by_steps]) == [[1.5], [1.0, 2.0]]
    assert await engine.score([ScoreRequest("hi", (Message("system", "be brief"), *said))]) == [[-0.5, -1.0]]
    assert (await engine.embed(["hello"])).tolist() == [[3.0, 4.0]]
    for call in (engine.reward([RewardRequest("y", said)]), engine.score([ScoreRequest("ho", said)])):
        with pytest.raises(Rejected, match="not_recorded"):
            await call
    with pytest.raises(Rejected, match="not_recorded"):
        await engine.embed(["another"])


async def test_a_run_replays_its_rewards(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "run"))
    rows = [
        Judgment("p", "j1", "score_reward", "rm", "rm", ("c0",), "ok", -3.25),
        Judgment("p", "j2", "score_reward", "rm", "rm", ("c1",), "too_long"),
    ]
    store.write("score_reward", 0, {Judgment: rows}, {})
    engine = await Recorded(path=str(tmp_path / "run")).open()
    assert await engine.reward([RewardRequest("j1")]) == [[-3.25]]
    with pytest.raises(Rejected, match="not_recorded"):
        await engine.reward([RewardRequest("j2")])
