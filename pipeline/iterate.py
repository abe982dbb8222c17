"""Rounds of generating and training: each round's policy is the model that the user's own command made of the last one's data.

A round is a run like any other in `<runs_dir>/<name>/round-N`, the model it led to is `<runs_dir>/<name>/model-N`. What is
there is not done again, so the same command goes on after whatever stopped it.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from pydantic import BaseModel, ConfigDict, Field, field_validator

from pipeline.config import validate
from pipeline.errors import PlanError, RunError
from pipeline.lock import lock
from pipeline.plan import NAME, make_plan
from pipeline.run import execute
from pipeline.stage import stage_name
from pipeline.store import Store

STOP_S = 7.0  # from SIGTERM to SIGKILL of a training
WORDS = ("data", "model", "to", "round", "python")


class Rounds(BaseModel):
    """The config's `iterate` block.

    train: the command with its arguments, one a word (no shell reads it). Filled in: {data}, the folder of the export;
    {model}, what made it; {to}, where the new model belongs; {round}; {python}, this interpreter.
    engine: the alias whose model is trained. export: the job whose rows are trained on.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    rounds: int = Field(2, ge=1)
    engine: str = "policy"
    export: str = "export"
    train: tuple[str, ...] = Field(min_length=1)

    @field_validator("train")
    @classmethod
    def _names_its_folders(cls, train: tuple[str, ...]) -> tuple[str, ...]:
        for word in ("data", "to"):
            if not any(f"{{{word}}}" in part for part in train):
                raise ValueError(f"no {{{word}}} in the command; filled in are {', '.join(WORDS)}, each in braces")
        return train


def iterate(config: Mapping[str, Any], plain: bool = False, quiet: bool = False) -> Path:
    """The folder of the last round's model. Raises PlanError before anything is spent, RunError when training fails."""
    rounds = _checked(config)
    base = Path(config.get("runs_dir", "runs"), config["name"])
    store = Store(str(base))
    store.create()
    with lock(store) as held:
        return _rounds(config, rounds, base, held, plain, quiet)


def _rounds(
    config: Mapping[str, Any], rounds: Rounds, base: Path, held: TextIO | None, plain: bool, quiet: bool
) -> Path:
    model = None
    for number in range(1, rounds.rounds + 1):
        data = of_round(config, number, model)
        made = execute(data, plain=plain, quiet=quiet)
        folder, to = made.store.path(rounds.export), base / f"model-{number}"
        model = data["engines"][rounds.engine]["model"]
        words = {"data": folder, "model": model, "round": str(number), "python": sys.executable}
        _train(rounds.train, words, to, made.plan.jobs[rounds.export].fingerprint, held)
        if not quiet:
            rows = made.totals[rounds.export].kept
            print(f"round {number} of {rounds.rounds}: {rows:,} rows in {folder}, model in {to}", flush=True)
        model = str(to)
    return to


def of_round(config: Mapping[str, Any], number: int = 1, model: str | None = None) -> dict[str, Any]:
    """The config of one round, or a config without rounds as it is: a folder and a seed of its own, the policy so far,
    and `{round}` in the source's path filled in. Raises PlanError."""
    if "iterate" not in config:
        return dict(config)
    rounds = validate(Rounds, config["iterate"], "iterate")
    name, engines = config.get("name", ""), config.get("engines", {})
    if not isinstance(name, str) or not re.fullmatch(NAME, name):
        raise PlanError(f"config: name {name!r} names the folder of the rounds: letters, digits, _ and - only")
    if "model" not in engines.get(rounds.engine, {}):
        able = ", ".join(alias for alias, engine in engines.items() if "model" in engine) or "none"
        raise PlanError(
            f"iterate: no engine {rounds.engine!r} with a model to be trained; engines that have one: {able}"
        )
    source, *jobs = config.get("jobs") or [{}]
    if "path" in source:
        source = source | {"path": str(source["path"]).replace("{round}", str(number))}
    policy = engines[rounds.engine] | ({"model": model} if model else {})
    return {
        **{key: value for key, value in config.items() if key != "iterate"},
        "name": f"round-{number}",
        "runs_dir": f"{config.get('runs_dir', 'runs')}/{name}",
        "seed": config.get("seed", 0) + number - 1,
        "engines": engines | {rounds.engine: policy},
        "jobs": [source, *jobs],
    }


def _checked(config: Mapping[str, Any]) -> Rounds:
    """The rounds of a config that holds. Raises PlanError."""
    if "iterate" not in config:
        raise PlanError("the config has no rounds; add iterate: {rounds: 2, train: [command, …]} (docs/learning.md)")
    rounds = validate(Rounds, config["iterate"], "iterate")
    for number in range(1, rounds.rounds + 1):
        plan = make_plan(of_round(config, number))
    if "://" in plan.config.runs_dir:
        raise PlanError(f"iterate: training needs a folder of this machine; runs_dir {plan.config.runs_dir} is none")
    exports = [name for name, job in plan.jobs.items() if stage_name(type(job.stage)) == "export"]
    if rounds.export not in exports:
        raise PlanError(f"iterate: no export {rounds.export!r} in this config; exports: {', '.join(exports) or 'none'}")
    return rounds


def _train(command: Sequence[str], words: Mapping[str, str], to: Path, fingerprint: str, held: TextIO | None) -> None:
    """Runs the command, unless the model is there. It writes beside the model's place; a finished one is renamed."""
    made = {"command": list(command), "model": words["model"], "data": fingerprint}
    note = to.with_suffix(".json")
    if to.exists():
        known = json.loads(note.read_text(encoding="utf-8"))
        if known != made:
            what = next(key for key in made if known.get(key) != made[key])
            raise PlanError(f"{to} was trained with another {what}; remove it and what follows, or give a new name")
        return
    part = to.with_suffix(".part")
    (part / "config.json").unlink(missing_ok=True)  # what an attempt before left is no model
    line = [_filled(part_of, {**words, "to": str(part)}) for part_of in command]
    try:
        code = _ended(line, held)
    except OSError as error:
        raise PlanError(f"iterate: train cannot be run: {line[0]}: {error.strerror}") from None
    if code or not (part / "config.json").is_file():
        why = f"ended with code {code}" if code else f"left no model in {part}"
        raise RunError(f"training {why}: {' '.join(line)}; mend it, and run the same command again")
    note.write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")
    part.rename(to)


def _ended(line: Sequence[str], held: TextIO | None) -> int:
    """The code that the command ended with. All processes of it that stay in its group end with us; it inherits the lock,
    so that one that outlives a killed driver keeps the next one away."""
    process = subprocess.Popen(
        line, stdin=subprocess.DEVNULL, process_group=0, pass_fds=[held.fileno()] if held else []
    )
    if held:
        held.write(f", training pid {process.pid}")
        held.flush()
    try:
        return process.wait()
    except BaseException:
        for number, patience_s in ((signal.SIGTERM, STOP_S), (signal.SIGKILL, None)):
            with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
                os.killpg(process.pid, number)
                process.wait(patience_s)
        raise


def _filled(part: str, words: Mapping[str, str]) -> str:
    for word, value in words.items():
        part = part.replace(f"{{{word}}}", value)
    return part
