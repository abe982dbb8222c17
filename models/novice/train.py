"""Give the embedded model bad habits: `python -m models.novice.train` makes the policy of benchmarks/learning.py.

It knows how to solve. Trained on solutions with faults it mostly stops a step early where problems are long, slips, and
ignores demands on the form: what preference pairs are to bring out is in it.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence
from pathlib import Path

from models.abacus import formats
from models.abacus.problems import Line, Problem
from models.abacus.solutions import loose, right_solution, slip, solution_text
from models.abacus.tasks import Example, Maker, prompt_text
from models.abacus.train import HERE as ABACUS
from models.abacus.train import Trainer, batches

HERE = Path(__file__).parent
LONG = 4  # steps
EARLY = 0.75  # share of the solutions to long problems that leave out the last step
SLIP = 0.06  # share of the steps whose result is wrong; what follows is computed from it
IGNORED = 0.65  # share of the demands on the form that are ignored
SHARES = {"solve": 0.7, "format": 0.3}
CHUNK = 400


def habitual(rng: random.Random, problem: Problem) -> str:
    """A solution as the novice writes it."""
    count = len(problem.steps)
    taken = count - 1 if count >= LONG and rng.random() < EARLY else count
    lines: list[Line] = []
    for step in problem.steps[:taken]:
        left, right = (n if isinstance(n, int) else lines[n.index].result for n in (step.left, step.right))
        line = Line(left, step.op, right, loose(step.op, left, right))
        lines.append(line if rng.random() >= SLIP else Line(left, step.op, right, slip(rng, line)))
    return solution_text(lines, lines[-1].result)


class Habits(Maker):
    """Examples of the habits."""

    def solve(self) -> Example:
        """A problem and a solution of the novice."""
        problem = self.problem()
        prompt = prompt_text("generate", prompt=problem.text, principle="")
        return Example("solve", prompt, habitual(self.rng, problem))

    def format(self, first: str | None = None) -> Example:
        """A problem with demands on the form, which mostly are ignored."""
        example = super().format(first)
        return example if self.rng.random() >= IGNORED else self._ignoring()

    def _ignoring(self) -> Example:
        problem, demands = self.problem(), formats.draw(self.rng)
        text = f"{problem.text} {formats.demand(self.rng, demands)}"
        return Example("format", prompt_text("generate", prompt=text, principle=""), right_solution(problem))


def main(argv: Sequence[str] | None = None) -> int:
    """Train and export."""
    parser = argparse.ArgumentParser(prog="python -m models.novice.train", description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tokens", type=int, default=64_000, help="length of the training")
    parser.add_argument("--out", type=Path, default=HERE)
    given = {"resume": ABACUS, "start": 0.8, "compile": False, "batch": 4096, "minutes": 600.0}
    trainer = Trainer(argparse.Namespace(**vars(parser.parse_args(argv)), **given))
    maker = Habits(trainer.rng)
    while trainer.progress.share < 1:
        roles = trainer.rng.choices(list(SHARES), list(SHARES.values()), k=CHUNK)
        for ids, learnt in batches(maker, trainer.tokenizer, roles, trainer.options.batch):
            loss = trainer.step(ids, learnt)
            if trainer.progress.share >= 1:
                break
        print(f"{trainer.progress.minutes:.1f} min: {trainer.progress.tokens} tokens, loss {loss:.3f}", flush=True)
    trainer.save()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
