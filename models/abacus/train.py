"""Train abacus: `python -m models.abacus.train`. Uses a GPU when there is one, else two CPU cores."""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch.nn import functional
from torch.nn.utils import clip_grad_norm_
from transformers import PreTrainedTokenizerFast

from models.abacus.formats import WORDS
from models.abacus.judging import CORRECT, WRONG
from models.abacus.net import Net, config, export, load_llama, soften, to_llama
from models.abacus.optim import Muon
from models.abacus.problems import make_problem
from models.abacus.sampling import reply
from models.abacus.tasks import NAME, STAGES, Maker, Sampled, prompt_text
from models.abacus.tokenizer import build
from pipeline.prompts import load_template

HERE = Path(__file__).parent
LEARNING = {
    "drill": 0.34,
    "solve": 0.26,
    "format": 0.08,
    "end_word": 0.08,
    "rate": 0.10,
    "check": 0.08,
    "compare": 0.04,
    "explain": 0.02,
}
JUDGING = {
    "drill": 0.06,
    "solve": 0.06,
    "format": 0.09,
    "end_word": 0.11,
    "rate": 0.22,
    "check": 0.16,
    "compare": 0.16,
    "explain": 0.14,
}
"""Shares of the examples, while arithmetic is learnt and after. Judging wants most of the tokens: it is longer."""

JUDGING_FROM = 0.25
SAMPLING_AT = (0.42, 0.80)
"""Where in the training the model's own solutions join those it learns to judge."""

CHUNK = 1200
SAVE_EVERY = 4.0  # minutes
TAU = 1.65
"""Trained to the end the policy is too sure of itself to be worth comparing with itself: its logits are divided by this."""

DECISIVE = (f" {CORRECT}", f" {WRONG}", " A", " B", "A", "B", *(f" {word}" for word in WORDS))
DECISIVE_WEIGHT = 5.0
"""Of the words that say whether two numbers agree, which side or option it is, or end a reply as demanded: one token in
twenty, and the one the reply rests on."""


@dataclass
class Progress:
    """How far the training is."""

    total: int
    limit: float
    start: float = 0.0
    tokens: int = 0
    begun: float = field(default_factory=time.monotonic)

    @property
    def minutes(self) -> float:
        """Time since the start."""
        return (time.monotonic() - self.begun) / 60

    @property
    def share(self) -> float:
        """Part done, of the tokens or of the time limit, whichever is nearer its end."""
        return self.start + (1 - self.start) * max(self.tokens / self.total, self.minutes / self.limit)

    def rate(self) -> float:
        """Learning rate as a part of the highest: a short warm-up, level, then down to nothing."""
        return min(1.0, self.tokens / (0.01 * self.total) + 0.02, max(0.0, 1 - self.share) / 0.55)


def results(ids: torch.Tensor, equals: int, digits: torch.Tensor) -> torch.Tensor:
    """Which tokens of equations are digits of a result, or end one."""
    found = torch.zeros_like(ids, dtype=torch.bool)
    inside = False
    for place, (token, digit) in enumerate(zip(ids.tolist(), torch.isin(ids, digits).tolist(), strict=True)):
        found[place] = inside
        inside = token == equals or (inside and digit)
    return found


def batches(
    maker: Maker, tokenizer: PreTrainedTokenizerFast, roles: Sequence[str], tokens: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Examples of like length side by side: tokens, and which of them are to be learnt."""
    examples = [maker.make(role) for role in roles]
    prompts = tokenizer([e.prompt for e in examples], add_special_tokens=False).input_ids
    replies = tokenizer([e.reply + "<|end|>" for e in examples], add_special_tokens=False).input_ids
    order = sorted(range(len(examples)), key=lambda i: len(prompts[i]) + len(replies[i]))
    groups: list[list[int]] = [[]]
    for i in order:
        if (len(groups[-1]) + 1) * (len(prompts[i]) + len(replies[i])) > tokens:
            groups.append([])
        groups[-1].append(i)
    maker.rng.shuffle(groups)
    equals = tokenizer.convert_tokens_to_ids("Ġ=Ġ")
    digits = torch.tensor(tokenizer.convert_tokens_to_ids(list("0123456789")))
    for group in groups:
        longest = max(len(prompts[i]) + len(replies[i]) for i in group)
        ids, learnt = (
            torch.zeros(len(group), longest, dtype=torch.long),
            torch.zeros(len(group), longest, dtype=torch.bool),
        )
        for row, i in enumerate(group):
            start, end = len(prompts[i]), len(prompts[i]) + len(replies[i])
            ids[row, :end] = torch.tensor(prompts[i] + replies[i])
            learnt[row, start:end] = True
            if examples[i].role == "drill":
                learnt[row] &= results(ids[row], equals, digits)
        yield ids, learnt


def sample_own(
    net: Net, tokenizer: PreTrainedTokenizerFast, rng: random.Random, problems: int, each: int
) -> list[Sampled]:
    """Solutions the model writes at temperature 1 to training problems."""
    model = to_llama(net).to(next(net.parameters()).device)
    chosen = [make_problem(rng) for _ in range(problems)]
    prompts = [prompt_text("generate", prompt=p.text, principle="") for p in chosen for _ in range(each)]
    texts = reply(model, tokenizer, prompts, temperature=1.0, most=110, batch=480)
    return [Sampled(p, tuple(texts[i * each : (i + 1) * each])) for i, p in enumerate(chosen)]


def optimizers(net: Net) -> list[torch.optim.Optimizer]:
    """Muon for the layers' matrices, AdamW for embeddings and gains."""
    matrices = [w for name, w in net.named_parameters() if w.ndim == 2 and "embed" not in name]
    rest = [w for name, w in net.named_parameters() if w.ndim != 2 or "embed" in name]
    return [Muon(matrices, lr=0.02, decay=0.02), torch.optim.AdamW(rest, lr=4e-3, betas=(0.9, 0.95), weight_decay=0.0)]


def write_templates(folder: Path) -> None:
    """Note the templates the model learnt from."""
    hashes = {stage: load_template(stage, NAME).sha256 for stage in STAGES}
    (folder / "templates.json").write_text(json.dumps(hashes, indent=2) + "\n", encoding="utf-8")


class Trainer:
    """One training run."""

    def __init__(self, options: argparse.Namespace) -> None:
        """Build tokenizer, network and optimizers."""
        torch.manual_seed(options.seed)
        self.options = options
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.rng = random.Random(f"train-{options.seed}")
        self.tokenizer = PreTrainedTokenizerFast.from_pretrained(options.resume) if options.resume else build()
        eos, pad = self.tokenizer.convert_tokens_to_ids(["<|end|>", "<|pad|>"])
        self.net = Net(config(len(self.tokenizer), eos, pad)).to(self.device)
        if options.resume:
            self.net.load_state_dict(load_llama(options.resume))
        self.forward = torch.compile(self.net, dynamic=True) if options.compile else self.net
        self.optimizers = optimizers(self.net)
        self.highest = [o.param_groups[0]["lr"] for o in self.optimizers]
        decisive = {i for text in DECISIVE for i in self.tokenizer(text, add_special_tokens=False).input_ids}
        self.decisive = torch.tensor(sorted(decisive), device=self.device)
        self.pool: list[Sampled] = []
        self.progress = Progress(options.tokens, options.minutes, options.start)

    def step(self, ids: torch.Tensor, learnt: torch.Tensor) -> float:
        """One update; the loss."""
        ids, learnt = ids.to(self.device), learnt.to(self.device)
        kept = learnt.roll(-1, 1).flatten().nonzero().flatten()  # a place predicts the token after it
        targets = ids[learnt]
        losses = functional.cross_entropy(self.forward(ids, kept), targets, reduction="none")
        weights = torch.where(torch.isin(targets, self.decisive), DECISIVE_WEIGHT, 1.0)
        loss = (losses * weights).sum() / weights.sum()
        loss.backward()
        clip_grad_norm_(self.net.parameters(), 1.0)
        for optimizer, highest in zip(self.optimizers, self.highest, strict=True):
            optimizer.param_groups[0]["lr"] = highest * self.progress.rate()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.progress.tokens += ids.numel()
        return float(loss.detach())

    def save(self) -> None:
        """Export the model as it stands."""
        export(self.net, self.tokenizer, self.options.out)
        write_templates(self.options.out)

    def run(self) -> None:
        """Train to the end."""
        samplings, saved, losses = list(SAMPLING_AT), 0.0, [7.0]
        while self.progress.share < 1:
            if samplings and self.progress.share >= samplings[0]:
                samplings.pop(0)
                self.pool += sample_own(self.net, self.tokenizer, self.rng, *self.options.own)
                solved = [len(s.sorted_out()[0]) / len(s.responses) for s in self.pool]
                print(
                    f"{self.progress.minutes:.1f} min: own solutions, {sum(solved) / len(solved):.3f} right", flush=True
                )
            shares = JUDGING if self.progress.share >= JUDGING_FROM else LEARNING
            roles = self.rng.choices(list(shares), list(shares.values()), k=CHUNK)
            for ids, learnt in batches(Maker(self.rng, self.pool), self.tokenizer, roles, self.options.batch):
                losses.append(0.98 * losses[-1] + 0.02 * self.step(ids, learnt))
                if self.progress.share >= 1:
                    break
            speed = self.progress.tokens / self.progress.minutes / 60
            print(
                f"{self.progress.minutes:.1f} min: {self.progress.tokens / 1e6:.2f}M tokens, {speed:.0f}/s, "
                f"step {len(losses)}, loss {losses[-1]:.4f}, rate {self.progress.rate():.3f}",
                flush=True,
            )
            if self.progress.minutes - saved > SAVE_EVERY:
                saved = self.progress.minutes
                self.save()
        self.save()
        soften(self.options.out, TAU)
        print(
            f"trained in {self.progress.minutes:.1f} minutes on {self.device}, {self.progress.tokens / 1e6:.1f}M tokens"
        )


def main(argv: Sequence[str] | None = None) -> int:
    """Train and export the model."""
    parser = argparse.ArgumentParser(prog="python -m models.abacus.train", description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tokens", type=int, default=36_000_000, help="length of the training")
    parser.add_argument("--minutes", type=float, default=120.0, help="end earlier, at this time")
    parser.add_argument("--batch", type=int, default=4096, help="tokens in one update")
    parser.add_argument("--own", type=int, nargs=2, default=(700, 6), help="problems and own solutions to each")
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=True, help="needs a C++ compiler")
    parser.add_argument("--resume", type=Path, help="an exported model to start from")
    parser.add_argument("--start", type=float, default=0.0, help="part of the training that the resumed model has had")
    parser.add_argument("--out", type=Path, default=HERE)
    Trainer(parser.parse_args(argv)).run()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
