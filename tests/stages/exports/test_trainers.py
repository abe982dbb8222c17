"""TRL itself trains on exported folders, by the very lines that the cards show, and sees the tokens that the rows say."""

from __future__ import annotations

import functools
import re
import runpy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from pipeline.pair import Pair
from pipeline.records import Message, Record
from pipeline.stage import Example, Summary
from pipeline.store import Store
from pipeline.tokenizer import Tokenizer, load_tokenizer
from pipeline.tree import Fork
from stages.exports.export import Export
from stages.exports.formats import format_of
from tests.stages.exports.example_rows import exported, pair_of, prompt_of

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]

ROOT = Path(__file__).resolve().parents[3]
MODEL = ROOT / "models" / "abacus"
EOS = 1
Batch = dict[str, Any]
Train = Callable[[str, Path], list[Batch]]


@pytest.fixture
def tokenizer() -> Tokenizer:
    return load_tokenizer(str(MODEL))


@pytest.fixture
def train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Train:
    """Runs a usage text on a folder for two steps; gives the batches that the model was shown."""
    trl, transformers = pytest.importorskip("trl"), pytest.importorskip("transformers")
    small = {
        "max_steps": 2, "per_device_train_batch_size": 4, "use_cpu": True, "bf16": False, "report_to": [],
        "save_strategy": "no", "disable_tqdm": True, "logging_steps": 1,
    }  # fmt: skip
    for name in ("DPOConfig", "RewardConfig", "KTOConfig"):
        kind = getattr(trl, name)
        monkeypatch.setattr(trl, name, lambda kind=kind, **given: kind(**{**given, **small}))
    seen: list[Batch] = []
    step = transformers.Trainer.training_step

    @functools.wraps(step)
    def watched(self: Any, model: Any, inputs: Batch, *more: Any, **named: Any) -> Any:
        seen.append({key: value.clone() for key, value in inputs.items() if hasattr(value, "clone")})
        return step(self, model, inputs, *more, **named)

    monkeypatch.setattr(transformers.Trainer, "training_step", watched)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.chdir(tmp_path)

    def run(usage: str, folder: Path) -> list[Batch]:
        script = tmp_path / "train.py"
        text = usage.replace("path/to/this/folder", str(folder)).replace("your/model", str(MODEL))
        script.write_text(text, encoding="utf-8")
        runpy.run_path(str(script))
        assert len(seen) == 2
        return seen

    return run


def folder_of(path: Path, pairs: Sequence[Pair], **fields: Any) -> tuple[Path, list[Any]]:
    """An exported folder, as the store writes it, and its rows."""
    stage = Export.model_validate(fields)
    rows, rejects, counts = exported(Example(prompt_of(), pairs=pairs), **fields)
    assert rejects == []
    table: dict[type[Record], list[Record]] = {stage.makes()[0]: rows}
    Store(str(path)).write("export", 0, table, {"counts": counts})
    recipes = {"export": {"stage": "export", "fields": fields}}
    for name, text in stage.finish(Summary("r", "export", {"00000.parquet": len(rows)}, {}, recipes, ())).items():
        (path / "export" / name).write_text(text, encoding="utf-8")
    return path / "export", rows


def usage(name: str) -> str:
    return format_of(name)[0].usage.format(max_length=512)


def pairs_of(n: int = 4, **changes: Any) -> list[Pair]:
    return [pair_of(f"{i} + 1 = {i + 1}", f"{i} + 1 = {i + 2}", question=f"{i} + 1?", **changes) for i in range(n)]


def sequences(batch: Batch) -> list[tuple[list[int], list[int]]]:
    """(prompt, completion) of every sequence of a batch, padding left out."""
    found = []
    for ids, real, mask in zip(batch["input_ids"], batch["attention_mask"], batch["completion_mask"], strict=True):
        tokens = [(int(i), int(m)) for i, a, m in zip(ids, real, mask, strict=True) if a]
        found.append(([i for i, m in tokens if not m], [i for i, m in tokens if m]))
    return found


def both(batch: Batch) -> list[tuple[list[int], list[int], list[int]]]:
    """(prompt, chosen, rejected) of every comparison of a batch, sorted."""
    found = sequences(batch)
    half = len(found) // 2
    arms = zip(found[:half], found[half:], strict=True)
    assert all(chosen[0] == rejected[0] for chosen, rejected in zip(found[:half], found[half:], strict=True))
    return sorted((chosen[0], chosen[1], rejected[1]) for chosen, rejected in arms)


def asked(row: Any, tokenizer: Tokenizer) -> list[int]:
    return tokenizer.chat([Message(m.role, m.content) for m in row.prompt])


def test_dpo(tmp_path: Path, train: Train, tokenizer: Tokenizer) -> None:
    steps: dict[str, Any] = {
        "assistant_prefix": "Step 1: ", "chosen_terminal": False, "rejected_terminal": False, "chosen_tail": "\nAnswer: 1",
        "rejected_tail": "\nAnswer: 2",
    }  # fmt: skip
    folder, rows = folder_of(tmp_path, pairs_of(**steps), tokenizer=str(MODEL), max_length=512)
    first, _ = train(usage("trl-dpo"), folder)
    assert both(first) == sorted(
        (asked(row, tokenizer), [*tokenizer.encode(row.chosen[0].content), EOS],
         [*tokenizer.encode(row.rejected[0].content), EOS]) for row in rows
    )  # fmt: skip
    assert rows[0].chosen[0].content == "Step 1: 0 + 1 = 1\nAnswer: 1"


def step_pairs(tokenizer: Tokenizer) -> list[Pair]:
    """Steps behind a shared prefix; the chosen ones end the answer, the rejected ones do not."""
    made = []
    for pair in pairs_of():
        prompt = tokenizer.chat(pair.prompt_messages, "Step 1: ")
        chosen, rejected = (
            tuple(tokenizer.encode(m[0].content)) for m in (pair.chosen_messages, pair.rejected_messages)
        )
        fork = Fork("t", "0", "1", "2", 1, prompt_token_ids=tuple(prompt), chosen_token_ids=(*chosen, EOS),
                    rejected_token_ids=rejected)  # fmt: skip
        made.append(replace(pair, level="step", assistant_prefix="Step 1: ", rejected_terminal=False, tree=fork))
    return made


def test_dpo_on_token_ids_by_the_lines_of_the_documentation(
    tmp_path: Path, train: Train, tokenizer: Tokenizer
) -> None:  # fmt: skip
    text = (ROOT / "docs" / "token_dpo.md").read_text(encoding="utf-8")
    [shown] = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert shown == format_of("token-dpo")[0].usage.format(max_length=1024)
    folder, rows = folder_of(tmp_path, step_pairs(tokenizer), format="token-dpo")
    first, _ = train(shown, folder)
    assert both(first) == sorted((list(r.prompt_ids), list(r.chosen_ids), list(r.rejected_ids)) for r in rows)
    texts = [[tokenizer.raw.decode(ids) for ids in (r.prompt_ids, r.chosen_ids, r.rejected_ids)] for r in rows]
    begin = "<|system|>Be brief.<|end|><|user|>0 + 1?<|end|><|assistant|>Step 1: 0 + 1 = "
    assert texts[0] == [begin, "1<|end|>", "2"]  # the rejected step does not end the answer


@pytest.mark.parametrize(("name", "margin"), [("trl-reward", False), ("trl-reward", True), ("margin-reward", True)])
def test_reward(tmp_path: Path, train: Train, tokenizer: Tokenizer, name: str, margin: bool) -> None:
    pairs = [replace(p, margin_logit=0.5 + i, strength=0.5 + i) for i, p in enumerate(pairs_of(3))]
    two_prompts = replace(pairs[0], rejected_prompt_messages=(Message("user", "7 + 7?"),))
    fields = {"format": name, **({"margin": True} if margin and name == "trl-reward" else {})}
    folder, rows = folder_of(tmp_path, [two_prompts, *pairs[1:]], **fields)
    first, _ = train(usage(name), folder)
    found = [
        [int(i) for i, a in zip(ids, real, strict=True) if a]
        for ids, real in zip(first["input_ids"], first["attention_mask"], strict=True)
    ]
    expected = [
        [
            tokenizer.encode(tokenizer.raw.apply_chat_template(
                [{"role": m.role, "content": m.content} for m in side], tokenize=False))
            for side in (row.chosen, row.rejected)
        ]
        for row in rows
    ]  # fmt: skip
    half = len(found) // 2
    assert sorted(zip(found[:half], found[half:], strict=True)) == sorted(map(tuple, expected))
    assert all(ids[-1] == EOS for ids in found)
    assert ("margin" in first) == margin
    if margin:
        assert sorted(first["margin"].tolist()) == [0.5, 1.5, 2.5]


def test_kto(tmp_path: Path, train: Train, tokenizer: Tokenizer) -> None:
    folder, rows = folder_of(tmp_path, pairs_of(2, chosen_score=0.9, rejected_score=0.1), format="trl-kto")
    first, _ = train(usage("trl-kto"), folder)
    found = [(*both_parts, bool(label)) for both_parts, label in zip(sequences(first), first["label"], strict=True)]
    assert sorted(found) == sorted(
        (asked(row, tokenizer), [*tokenizer.encode(row.completion[0].content), EOS], row.label) for row in rows
    )
    assert [row.label for row in rows] == [True, False, True, False]


@pytest.mark.parametrize("name", ["trl-dpo", "trl-reward", "trl-kto", "token-dpo"])
def test_a_shard_of_the_run_itself_is_refused(tmp_path: Path, train: Train, name: str) -> None:
    Store(str(tmp_path)).write("pairs", 0, {Pair: pairs_of()}, {"counts": {}})
    with pytest.raises((KeyError, ValueError), match=r"chosen|No columns in the dataset match"):
        train(usage(name), tmp_path / "pairs")
