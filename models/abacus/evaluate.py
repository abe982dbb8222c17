"""Measure abacus on held-out problems: `python -m models.abacus.evaluate` prints the table of the model card."""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from models.abacus import formats
from models.abacus.problems import make_problems
from models.abacus.sampling import reply
from models.abacus.solutions import is_correct
from models.abacus.tasks import Example, Maker, Sampled, prompt_text

HERE = Path(__file__).parent
SAMPLES = 8
Ask = Callable[[Sequence[str]], list[str]]


@dataclass(frozen=True)
class Row:
    """One figure of the table."""

    name: str
    value: float
    wanted: str
    n: int


def balanced(truths: Sequence[bool], said: Sequence[bool]) -> float:
    """Mean of the hit rates on right and on wrong ones."""
    sides = [[s == t for t, s in zip(truths, said, strict=True) if t is side] for side in (True, False)]
    return statistics.fmean(statistics.fmean(side) for side in sides)


def last_label(text: str) -> str:
    """The last character of a reply: its score or option."""
    return text.strip()[-1:]


def solving(model: torch.nn.Module, tokenizer: object, count: int, seed: int) -> tuple[list[Row], list[Sampled]]:
    """Accuracy of single solutions, greedy and sampled, and problems with both right and wrong ones."""
    problems = make_problems(seed, count, "heldout")
    prompts = [prompt_text("generate", prompt=p.text, principle="") for p in problems]
    sampled = reply(model, tokenizer, [p for p in prompts for _ in range(SAMPLES)], temperature=1.0, most=96)
    greedy = reply(model, tokenizer, prompts, most=96)
    pool = [Sampled(p, tuple(sampled[i * SAMPLES : (i + 1) * SAMPLES])) for i, p in enumerate(problems)]
    right = [[is_correct(s.problem, r) for r in s.responses] for s in pool]
    rows = [
        Row("abacus_solve_t1", statistics.fmean(map(statistics.fmean, right)), "0.45-0.75", count * SAMPLES),
        Row("abacus_mixed", statistics.fmean(any(r) and not all(r) for r in right), ">=0.40", count),
        Row(
            "abacus_solve_greedy",
            statistics.fmean(is_correct(p, g) for p, g in zip(problems, greedy, strict=True)),
            "",
            count,
        ),
    ]
    return rows, pool


def rating(ask: Ask, examples: Sequence[Example]) -> float:
    """Balanced accuracy of score >= 4 meaning correct."""
    said = [last_label(text) in ("4", "5") for text in ask([e.prompt for e in examples])]
    return balanced([bool(e.facts["correct"]) for e in examples], said)


def checking(ask: Ask, examples: Sequence[Example]) -> float:
    """Balanced accuracy on single steps."""
    replies = ask([e.prompt for e in examples])
    said = [(last_label(text) == "A") == e.facts["option_a"] for e, text in zip(examples, replies, strict=True)]
    return balanced([bool(e.facts["correct"]) for e in examples], said)


def comparing(ask: Ask, examples: Sequence[Example]) -> tuple[float, float]:
    """Accuracy over both orders, and how far the first is preferred."""
    replies = ask([e.prompt for e in examples] + [str(e.facts["swapped"]) for e in examples])
    first = [last_label(text) == "A" for text in replies]
    better = [e.facts["better"] == "A" for e in examples]
    hits = [f == b for f, b in zip(first, [*better, *(not b for b in better)], strict=True)]
    return statistics.fmean(hits), abs(statistics.fmean(first) - 0.5)


def explaining(ask: Ask, examples: Sequence[Example]) -> float:
    """Part of the explanations that are one JSON object with verbatim quotes and the right verdict."""
    good = 0
    for example, text in zip(examples, ask([e.prompt for e in examples]), strict=True):
        responses = example.facts["responses"]
        try:
            found = json.loads(text)
            sides = dict(zip("AB", responses, strict=True))  # type: ignore[call-overload]
            quoted = all(e["quote"] in sides[e["side"]].split("\n") for e in found["evidence"])
            good += quoted and found["verdict"]["label"] == example.facts["better"]
        except (ValueError, KeyError, TypeError):
            continue
    return good / len(examples)


def following(ask: Ask, examples: Sequence[Example]) -> float:
    """Part of the replies that meet every demand."""
    replies = ask([e.prompt for e in examples])
    return statistics.fmean(
        formats.followed(e.facts["instructions"], text)  # type: ignore[arg-type]
        for e, text in zip(examples, replies, strict=True)
    )


def measure(folder: Path, count: int, seed: int) -> list[Row]:
    """All figures."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(seed)
    rows, pool = solving(model, tokenizer, count, seed)

    def ask(prompts: Sequence[str]) -> list[str]:
        most = 256 if prompts[0].endswith("as JSON.<|end|><|assistant|>") else 144
        return reply(model, tokenizer, prompts, most=most)

    for suffix, own in (("", pool), ("_synthetic", [])):
        maker = Maker(random.Random(f"{seed}{suffix}"), own, "heldout", own=1.0)
        wanted = {"": (">=0.85", ">=0.80", "<=0.05")}.get(suffix, ("", "", ""))
        rows.append(
            Row(f"abacus_rate_balanced{suffix}", rating(ask, [maker.rate() for _ in range(count)]), wanted[0], count)
        )
        rows.append(
            Row(
                f"abacus_check_balanced{suffix}", checking(ask, [maker.check() for _ in range(count)]), wanted[0], count
            )
        )
        right, bias = comparing(ask, [maker.compare() for _ in range(count)])
        rows.append(Row(f"abacus_compare{suffix}", right, wanted[1], 2 * count))
        rows.append(Row(f"abacus_compare_bias{suffix}", bias, wanted[2], 2 * count))
        explained = explaining(ask, [maker.explain() for _ in range(count // 2)])
        rows.append(Row(f"abacus_explain{suffix}", explained, "", count // 2))
    maker = Maker(random.Random(seed), (), "heldout")
    rows.append(Row("abacus_format_followed", following(ask, [maker.format() for _ in range(count)]), ">=0.80", count))
    return rows


def table(rows: Sequence[Row]) -> str:
    """The figures as Markdown."""
    lines = ["| name | value | wanted | n |", "|---|---|---|---|"]
    return "\n".join([*lines, *(f"| {r.name} | {r.value:.3f} | {r.wanted} | {r.n} |" for r in rows)])


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m models.abacus.evaluate", description=__doc__)
    parser.add_argument("--model", type=Path, default=HERE)
    parser.add_argument("--count", type=int, default=300, help="problems, or examples of each role")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="also write the rows here")
    options = parser.parse_args(argv)
    begun = time.monotonic()
    rows = measure(options.model, options.count, options.seed)
    print(table(rows))
    print(f"measured in {(time.monotonic() - begun) / 60:.1f} minutes")
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
