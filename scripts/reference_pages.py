"""The pages of the documentation that are written by the code: stages, exports, engines, configs, tables."""

from __future__ import annotations

import functools
import importlib
import inspect
import re
import typing
from pathlib import Path
from typing import Any

import msgspec
from pydantic import BaseModel

from pipeline.catalogue import stage_class, stage_files
from pipeline.config import read_config
from pipeline.engine import engine_class, engine_kinds
from pipeline.pair import Pair
from pipeline.plan import RunConfig
from pipeline.records import Candidate, Judgment, Prompt, Rationale, Record, Reject
from pipeline.stage import SourceStage, Stage
from pipeline.tables import table_name
from pipeline.tree import Node, Ranking, Thumb, Trace, Tree
from scripts.field_tables import about, escaped, field_table, kind, nested, prose
from stages.exports.formats import format_names, format_of

ROOT = Path(__file__).resolve().parents[1]
TOPICS = {
    "sources": "Input: prompts, prompts with answers, ready pairs, gold items, finished runs.",
    "candidates": "Answers to prompts, and ways to make them; some make prompts for the next run.",
    "constraints": "Functions that check whether an answer keeps an instruction.",
    "contexts": "Answers and verdicts under a condition, persona or role.",
    "judges": "Verdicts on answers: checks, scores, comparisons, rewards; juries and their health.",
    "search": "Search trees of reasoning steps.",
    "pairs": "What to prefer over what: pairs of every level, lists, unpaired labels.",
    "rationales": "Why the chosen arm is better.",
    "curate": "Whole-dataset work: duplicates, contamination, balance, splits.",
    "exports": "Rows as trainers read them.",
}
TABLES: tuple[type[Record], ...] = (
    Prompt, Candidate, Judgment, Pair, Rationale, Tree, Node, Trace, Ranking, Thumb, Reject,
)  # fmt: skip


def pages() -> dict[str, str]:
    """Path below the site's sources -> Markdown."""
    topics: dict[str, list[str]] = {topic: [] for topic in TOPICS}
    for name, file in stage_files().items():
        topics[file.parent.name].append(name)
    made = {f"stages/{topic}.md": topic_page(topic, names) for topic, names in topics.items()}
    made["stages/index.md"] = _stage_index(topics)
    return made | {
        "engines.md": engines_page(), "formats.md": formats_page(), "configs.md": configs_page(),
        "run_config.md": _run_config(), "tables.md": tables_page(),
    }  # fmt: skip


def _stage_index(topics: dict[str, list[str]]) -> str:
    rows = []
    for topic, names in topics.items():
        for name in names:
            module = importlib.import_module(f"stages.{topic}.{name}")
            rows.append(f"| [`{name}`]({topic}.md#{name}) | {topic} | {escaped(_first_line(module, name))} |\n")
    return (
        "# Stages\n\nA job of a config is a stage with its fields. These pages are made from the code when the site is built."
        "\nBeside its fields every job takes `stage`, `name` (default: the stage) and `from` (default: all jobs above it).\n\n"
        f"| stage | topic | |\n|---|---|---|\n{''.join(rows)}"
    )


def _first_line(module: Any, name: str) -> str:
    return " ".join((inspect.getdoc(module) or "").split("\n\n")[0].split()).removeprefix(f"{name}: ")


def topic_page(topic: str, names: list[str]) -> str:
    """Every stage of a topic, then the models that their fields hold."""
    parts, models = [f"# {topic.capitalize()}\n\n{TOPICS[topic]}"], dict[str, type[BaseModel]]()
    for name in names:
        cls = stage_class(name)
        parts.append(stage_section(name, cls))
        models |= nested(cls)
    parts += [_model_section(cls) for _, cls in sorted(models.items())]
    return "\n\n".join(parts) + "\n"


def stage_section(name: str, cls: type[Stage]) -> str:
    """What a stage is for, reads and makes, and its fields."""
    module = importlib.import_module(cls.__module__)
    text = prose((inspect.getdoc(module) or "").removeprefix(f"{name}: "))
    text = text[:1].upper() + text[1:]
    said = prose(re.sub(r"\s*Further fields: [\w, ]+\.", "", about(cls)[0]))
    own = [
        base for base in cls.__mro__[1:] if issubclass(base, BaseModel) and base not in (Stage, SourceStage, BaseModel)
    ]
    more = [prose(about(base)[0]) for base in own if about(base)[0]]
    table = field_table(cls) or "It has no fields."
    return "\n\n".join([f"## {name}", text, said, _chain(name, cls), table, *more])


def _chain(name: str, cls: type[Stage]) -> str:
    facts = []
    if not issubclass(cls, SourceStage):
        blank = cls.model_construct()
        if reads := [f"`{table_name(t)}`" for t in blank.needs()]:
            facts.append(f"Reads {', '.join(reads)}.")
        try:
            facts.append(f"Makes {', '.join(f'`{table_name(t)}`' for t in blank.makes())}.")
        except AttributeError:  # what it makes depends on its fields
            facts.append("What it makes depends on its fields.")
    if texts := sorted(p.stem for p in (ROOT / "prompts" / name).glob("*.j2")):
        facts.append(f"Templates in `prompts/{name}/`: {', '.join(f'`{text}`' for text in texts)}.")
    if users := [
        f"[{c}](../configs.md#{c})" for c in _configs() if any(j["stage"] == name for j in _configs()[c]["jobs"])
    ]:
        facts.append(f"In the shipped {', '.join(users)}.")
    return " ".join(facts)


def _model_section(cls: type[BaseModel]) -> str:
    return "\n\n".join(part for part in (f"## {cls.__name__}", prose(about(cls)[0]), field_table(cls)) if part)


def engines_page() -> str:
    """Every engine kind with its fields."""
    head = (
        "# Engines\n\nWhat answers. A config names engines by aliases of its own, and a stage asks for an alias:\n\n"
        "```yaml\nengines:\n  policy: {kind: vllm, model: Qwen/Qwen3-8B, resources: {gpus: 1, replicas: 2}}\n"
        "  judge: {kind: openai, model: my-model, base_url_env: JUDGE_URL, api_key_env: JUDGE_KEY}\n```\n\n"
        "Addresses and keys come from the environment alone; the config names the variables."
    )
    parts = [head]
    models: dict[str, type[BaseModel]] = {}
    for name in engine_kinds():
        cls = engine_class(name)
        parts.append("\n\n".join([f"## {name}", prose(about(cls)[0]), field_table(cls)]))
        models |= nested(cls)
    parts += [_model_section(cls) for _, cls in sorted(models.items())]
    return "\n\n".join(parts) + "\n"


def formats_page() -> str:
    """Every export format with its columns and how a trainer reads it."""
    head = (
        "# Export formats: columns\n\n`{stage: export, format: F}`, or `prefsynth export RUN --format F --to DIR`. Which "
        "to take, and what each refuses: [Export formats](exports.md)."
    )
    parts = [head]
    for name in format_names():
        form, text = format_of(name)
        rows = "".join(f"| `{column}` | {escaped(meaning)} |\n" for column, meaning in form.columns.items())
        usage = form.usage.format(max_length=1024).strip()
        reads = ", ".join(f"`{table_name(cls)}`" for cls in form.reads)
        parts.append(
            f"## {name}\n\n{prose(text)}\n\nReads {reads}.\n\n| column | |\n|---|---|\n{rows}\n```python\n{usage}\n```"
        )
    return "\n\n".join(parts) + "\n"


@functools.cache
def _configs() -> dict[str, dict[str, Any]]:
    return {p.stem: read_config(str(p)) for p in sorted((ROOT / "configs").glob("*.yaml"))}


def configs_page() -> str:
    """Every shipped config as it is."""
    parts = ["# Shipped configs\n\nEach says what it is for, needs and costs. `prefsynth run NAME` finds them by name."]
    for name in _configs():
        text = (ROOT / "configs" / f"{name}.yaml").read_text(encoding="utf-8")
        parts.append(f"## {name}\n\n```yaml\n{text.strip()}\n```")
    return "\n\n".join(parts) + "\n"


def _run_config() -> str:
    return (
        "# The top of a config\n\nOne YAML is the whole truth of a run. A key that is not known is an error that lists those "
        f"that are.\n\n{prose(about(RunConfig)[0])}\n\n{field_table(RunConfig)}\n\n`engines`: alias to an "
        "[engine](engines.md). `jobs`: a list of [stages](stages/index.md).\n"
    )


def tables_page() -> str:
    """The columns of the tables in a run's folder."""
    head = (
        "# Tables of a run\n\n`runs/<run>/<job>/<shard>.parquet` is one long table for each job; further tables of a job lie "
        "in `<job>.<table>/`. Open any of them with duckdb, polars, pandas or datasets. NULL means not known, never low."
    )
    parts = [head]
    for cls in TABLES:
        hints, told = typing.get_type_hints(cls), record_comments(cls)
        rows = "".join(
            f"| `{name}` | {_column(hints[name])} | {escaped(told.get(name, ''))} |\n" for name in cls.__struct_fields__
        )
        parts.append(
            f"## {table_name(cls)}\n\n{prose(inspect.getdoc(cls) or '')}\n\n| column | type | |\n|---|---|---|\n{rows}"
        )
    return "\n\n".join(parts) + "\n"


def record_comments(cls: type[Record]) -> dict[str, str]:
    """Column -> the comment behind it."""
    return dict(re.findall(r"^    (\w+): [^#\n]+#\s*(.+)$", inspect.getsource(cls), re.MULTILINE))


def _column(hint: Any) -> str:
    parts = [part for part in (typing.get_args(hint) or (hint,)) if part not in (type(None), ...)]
    if len(parts) == 1 and typing.get_origin(parts[0]) is tuple:
        parts, hint = [typing.get_args(parts[0])[0]], parts[0]
    if parts and isinstance(parts[0], type) and issubclass(parts[0], msgspec.Struct):
        names = ", ".join(parts[0].__struct_fields__)
        many = typing.get_origin(hint) is tuple
        return f"{'list of ' if many else ''}struct ({escaped(names)})"
    return kind(hint)
