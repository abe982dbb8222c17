"""The shape of the code, read from its syntax trees: who imports whom, where third parties stand, how large it is."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from pipeline.catalogue import stage_class
from pipeline.catalogue import stage_files as registered_stages
from pipeline.engine import engine_class, engine_kinds
from pipeline.stage import stage_name

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("pipeline", "stages", "models", "benchmarks", "examples")
FILES = sorted(p for package in PACKAGES for p in (ROOT / package).rglob("*.py"))

# Each line may import the lines above it, and what stands with it on its own line.
LAYERS = [
    {
        "errors",
        "signals",
        "ended",
        "files",
        "labels",
        "lifeline",
        "page",
        "certainty",
        "rewards",
        "timeline",
        "histogram",
    },
    {"records", "ids"},
    {"pair", "tree"},
    {"prompts", "tables", "store", "engine"},
    {"tokenizer", "model_files", "config", "endpoint"},
    {"chat", "stage", "dataset", "live", "remote", "journal", "vllm_arguments", "openai_protocol"},
    {"vllm_calls", "vllm_server"},
    {"vllm_pooling"},
    {"engines"},
    {"catalogue"},
    {"plan", "watchdog"},
    {"worker", "schedule", "resume", "lock", "decide", "totals"},
    {"metrics", "finish"},
    {"executor", "replica", "progress"},
    {"executors"},
    {"run", "report"},
    {"drawing"},
    {"alone"},
    {"show", "preview", "export", "audit", "pictures", "check", "calibrate", "survey", "report_page", "iterate"},
    {"cli"},
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
# What an engine may know is less than its place in the list allows.
ENGINES_MAY = {n for layer in LAYERS[:8] for n in layer} - {"store", "stage", "live", "remote", "journal"} | {"engines"}
STAGES_MAY = {
    "errors", "records", "pair", "tree", "ids", "prompts", "engine", "stage", "catalogue", "tokenizer", "labels", "model_files",
    "page", "dataset",
}  # fmt: skip

THIRD_PARTIES = {
    "ray": {"pipeline/executors/"},
    "vllm": {"pipeline/engines/vllm.py", "pipeline/vllm_calls.py", "pipeline/vllm_pooling.py"},
    "httpx2": {"pipeline/engines/openai.py"},
    "jinja2": {"pipeline/prompts.py"},
    "pyarrow": {
        "pipeline/store.py",
        "pipeline/tables.py",
        "pipeline/files.py",
        "pipeline/engines/recorded.py",
        "stages/sources/",
    },
    "datasets": {"stages/sources/hub.py"},
    "transformers": {"pipeline/tokenizer.py", "pipeline/engines/vllm.py"},
    "math_verify": {"stages/judges/math_worker.py"},
    "yaml": {"pipeline/config.py", "stages/exports/"},
}
FORBIDDEN_CALLS = {
    "eval", "exec", "compile", "__import__", "os.system", "yaml.load", "yaml.unsafe_load", "yaml.full_load",
}  # fmt: skip
SANDBOX = "stages/sandbox/worker.py"  # the one place where a text is run, behind its walls
FORBIDDEN_MODULES = {"pickle", "cloudpickle", "dill", "shelve", "marshal"}
MAX_FILE, MAX_FUNCTION, MAX_ARGUMENTS = 250, 40, 6


@cache
def nodes(path: Path) -> tuple[ast.AST, ...]:
    return tuple(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


@cache
def imports(path: Path) -> frozenset[str]:
    """Dotted names imported anywhere in a file: modules, and `module.name` for what is taken from one."""
    names: set[str] = set()
    for node in nodes(path):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name_of(path)}: relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(names)


def roots(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imports(path)}


def modules(path: Path, package: str) -> set[str]:
    """First names below `package` that a file imports: `pipeline.engines.vllm` gives `engines`."""
    return {name.split(".")[1] for name in imports(path) if name.startswith(f"{package}.")}


def in_folder(folder: str) -> list[Path]:
    return [p for p in FILES if name_of(p).startswith(f"{folder}/") and p.name != "__init__.py"]


def classes_of(path: Path, *bases: str) -> list[str]:
    found = [n for n in nodes(path) if isinstance(n, ast.ClassDef)]
    return [n.name for n in found if any(isinstance(b, ast.Name) and b.id in bases for b in n.bases)]


@cache
def stage_modules() -> dict[str, Path]:
    """Module -> file of the files in stages/ that hold a Stage."""
    files = [p for p in in_folder("stages") if classes_of(p, "Stage", "SourceStage", "DatasetStage")]
    return {f"stages.{p.parent.name}.{p.stem}": p for p in files}


def calls(path: Path) -> Iterator[tuple[ast.Call, str]]:
    return ((n, ast.unparse(n.func)) for n in nodes(path) if isinstance(n, ast.Call))


def test_the_machine_imports_downwards() -> None:
    upwards = []
    for path in in_folder("pipeline"):
        own = path.relative_to(ROOT / "pipeline").parts[0].removesuffix(".py")
        assert own in LEVEL, f"give {own} its place in LAYERS"
        used = modules(path, "pipeline") & LEVEL.keys()
        upwards += [f"{name_of(path)} imports {u}" for u in used if LEVEL[u] > LEVEL[own]]
        if own == "engines":
            upwards += [f"{name_of(path)} imports {u}" for u in used - ENGINES_MAY]
    assert upwards == []


def test_the_machine_knows_no_task() -> None:
    known = {name_of(p): roots(p) & {"stages", "models", "benchmarks"} for p in in_folder("pipeline")}
    assert {path: names for path, names in known.items() if names} == {}


def test_a_stage_uses_contracts_and_pure_files_alone() -> None:
    wrong = []
    for path in in_folder("stages"):
        wrong += [f"{name_of(path)} imports pipeline.{m}" for m in modules(path, "pipeline") - STAGES_MAY]
        for module, file in stage_modules().items():
            if file != path and any(name == module or name.startswith(f"{module}.") for name in imports(path)):
                wrong.append(f"{name_of(path)} imports the stage {module}")
    assert wrong == []


@pytest.mark.parametrize("party", THIRD_PARTIES)
def test_a_third_party_has_one_place(party: str) -> None:
    places = (*THIRD_PARTIES[party], "models/", "benchmarks/")
    assert [name_of(p) for p in FILES if party in roots(p) and not name_of(p).startswith(places)] == []


def test_what_takes_seconds_to_import_is_imported_where_it_is_used() -> None:
    heavy = {"vllm", "torch", "transformers", "datasets", "openai", "math_verify", "ray"}
    allowed = ("pipeline/executors/", "stages/judges/math_worker.py", "models/", "benchmarks/")
    found = []
    for path in FILES:
        names = {name.split(".")[0] for node in ast.parse(path.read_text()).body for name in imported_by(node)}
        if names & heavy and not name_of(path).startswith(allowed):
            found.append(f"{name_of(path)} imports {', '.join(names & heavy)} at the top")
    assert found == []


def imported_by(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [node.module or ""] if isinstance(node, ast.ImportFrom) else []


def test_files_functions_and_argument_lists_stay_small() -> None:
    large = []
    for path in FILES:
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > MAX_FILE:
            large.append(f"{name_of(path)}: {lines} lines")
        for f in nodes(path):
            if not isinstance(f, (ast.FunctionDef, ast.AsyncFunctionDef)):
                continue
            if (length := (f.end_lineno or 0) - f.lineno + 1) > MAX_FUNCTION:
                large.append(f"{name_of(path)}: {f.name} has {length} lines")
            given = [a.arg for a in (*f.args.posonlyargs, *f.args.args, *f.args.kwonlyargs)]
            if (n := len([a for a in given if a not in ("self", "cls")])) > MAX_ARGUMENTS:
                large.append(f"{name_of(path)}: {f.name} takes {n} arguments")
    assert large == []


def test_text_is_never_run() -> None:
    run = [f"{name_of(p)} imports {m}" for p in FILES for m in roots(p) & FORBIDDEN_MODULES]
    for path in FILES:
        for call, name in calls(path):
            shell = any(k.arg == "shell" and ast.unparse(k.value) != "False" for k in call.keywords)
            if (name in FORBIDDEN_CALLS and name_of(path) != SANDBOX) or shell:
                run.append(f"{name_of(path)}, line {call.lineno}: {name}")
    assert run == []


def test_no_global_randomness_decides_anything() -> None:
    drawn = [
        f"{name_of(p)}: {name}"
        for folder in ("pipeline", "stages")
        for p in in_folder(folder)
        for _, name in calls(p)
        if name.startswith(("random.", "np.random.", "numpy.random.", "uuid.")) and name != "random.Random"
    ]
    assert drawn == []


def test_each_stage_file_is_one_stage_of_its_name() -> None:
    assert sorted(registered_stages()) == sorted(p.stem for p in stage_modules().values())
    assert len({p.stem for p in stage_modules().values()}) == len(stage_modules()), "two stage files share a name"
    for name in registered_stages():
        assert stage_name(stage_class(name)) == name


def test_each_engine_file_is_one_engine_kind() -> None:
    assert {p.stem for p in in_folder("pipeline/engines")} == set(engine_kinds())
    for kind in engine_kinds():
        assert engine_class(kind).model_fields["kind"].default == kind


def test_names_say_what_things_are() -> None:
    vague = [name_of(p) for p in FILES if p.stem in ("utils", "helpers", "common", "misc")]
    names = [(p, n.name) for p in FILES for n in nodes(p) if isinstance(n, ast.ClassDef)]
    bad = re.compile(r"Base|.*(Manager|Handler|Helper)$")
    assert vague + [f"{name_of(p)}: {name}" for p, name in names if bad.match(name)] == []
