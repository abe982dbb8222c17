"""The command line: check, preview, run, iterate, status, show, report, export, audit, calibrate. `make synth` is `run`."""

from __future__ import annotations

import argparse
import errno
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

from pipeline.errors import PlanError, PrefsynthError
from pipeline.signals import raising

# Nothing this program starts reports home or looks for updates, unless the user's environment says so.
SILENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_UPDATE_CHECK": "1",
    "TOKENIZERS_PARALLELISM": "false",
}
# Libraries that only some configs need, and the extra that brings them.
EXTRAS = {"ray": "ray", "transformers": "hf", "datasets": "hf"}

OPTIONAL_COLUMNS = {
    "rationales": "the rationale of each pair",
    "margin": "the calibrated margin; pairs without are refused",
    "scores": "the scores of both answers; pairs without are refused",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code: 0 done, 2 wrong config, 3 the run failed, 4 an audit
    bound is crossed, 5 stopped and resumable."""
    for name, value in SILENT.items():
        os.environ.setdefault(name, value)
    arguments = _parser().parse_args(argv)
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # a config may name the user's own functions and stages
    try:
        with raising():
            arguments.command(arguments)
    except PrefsynthError as error:
        print(f"prefsynth: {error}", file=sys.stderr)
        return error.exit_code
    except ModuleNotFoundError as error:
        if (missing := (error.name or "").split(".")[0]) not in EXTRAS:
            raise
        print(
            f"prefsynth: {missing} is not installed: pip install '.[{EXTRAS[missing]}]' in the checkout",
            file=sys.stderr,
        )
        return PlanError.exit_code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        # None: of an object store
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, None):
            raise
        print(f"prefsynth: {error}", file=sys.stderr)
        return 3
    except KeyboardInterrupt:
        print("prefsynth: stopped; run the same command again to go on", file=sys.stderr)
        return 5
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="prefsynth", description="Preference data synthesis: from one YAML to Parquet."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: Any, what: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=what, description=what)
        sub.set_defaults(command=run)
        return sub

    _add_config_commands(command)
    _add_run_commands(command)
    _add_calibrate(command)
    return parser


def _at_least_one(text: str) -> int:
    if (n := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{n} prompts are none to look at; give 1 or more")
    return n


def _add_config_commands(command: Callable[[str, Any, str], argparse.ArgumentParser]) -> None:
    for name, run, what in (
        ("run", _run, "execute a config; the same command continues a run that was stopped"),
        ("iterate", _iterate, "generate, train by the config's own command, generate with what it made, and so on"),
        ("check", _check, "plan, columns, templates, engines, sizes and costs, without loading a model"),
        ("preview", _preview, "send a few prompts through every job; print each prompt sent and each record made"),
    ):
        sub = command(name, run, what)
        sub.add_argument("config", help="path of a YAML file, or the name of a shipped config")
        sub.add_argument("--runs", metavar="DIR", help="where runs lie (default: runs_dir of the config)")
        sub.add_argument("--executor", choices=("ray", "local"), help="default: the config's")
        sub.add_argument("--address", help="a Ray cluster to join (auto, or host:port); default: start a local one")
        if name == "run":
            sub.add_argument("--rebuild", metavar="JOB", help="redo this job and what follows from it")
        if name in ("run", "iterate"):
            sub.add_argument("--plain", action="store_true", help="plain progress lines even on a terminal")
        else:
            sub.add_argument(
                "-n", type=_at_least_one, default=3 if name == "preview" else 64, help="prompts to look at"
            )


def _add_run_commands(command: Callable[[str, Any, str], argparse.ArgumentParser]) -> None:
    for name, run, what in (
        ("status", _status, "what is done and what is left of a run"),
        ("report", _report, "what happened in a run, as tables here and as a page with plots and pairs to read"),
        ("show", _show, "one prompt and all that was learned about it"),
        ("export", _export, "write what a run made in a trainer's format"),
        ("audit", _audit, "health of the judges and labels of a run, as a page and JSON"),
    ):
        sub = command(name, run, what)
        sub.add_argument("run", help="folder of the run, such as runs/quickstart")
        if name == "show":
            sub.add_argument("prompt_id", help="id of a prompt, or its first digits")
        if name == "report":
            sub.add_argument("--json", action="store_true", help="as JSON, and no page")
            sub.add_argument("--to", metavar="FILE.html", help="the page (default: report.html in the run's folder)")
        if name == "audit":
            sub.add_argument("--to", metavar="DIR", help="folder to write (default: audited in the run's folder)")
            sub.add_argument(
                "--fail-on", nargs="+", default=[], metavar="BOUND", help="exit code 4 when crossed: 'parse_rate<0.98'"
            )
        if name == "export":
            sub.add_argument(
                "--format", required=True, help="trainer format, such as trl-dpo; or, of trees, html or graphviz"
            )
            sub.add_argument("--to", required=True, metavar="DIR", help="folder to write")
            sub.add_argument("--max-length", type=int, help="longest prompt + answer in tokens")
            sub.add_argument("--tokenizer", help="tokenizer of the model to be trained")
            sub.add_argument("--table", help="which table, where the format carries several: pairs, traces, thumbs, …")
            for option, what in OPTIONAL_COLUMNS.items():
                sub.add_argument(f"--{option}", action="store_const", const=True, help=f"with {what}")


def _add_calibrate(command: Callable[[str, Any, str], argparse.ArgumentParser]) -> None:
    sub = command("calibrate", _calibrate, "measure judges on a gold file (docs/calibration.md)")
    sub.add_argument("gold", help="gold items: .jsonl or .parquet, with recorded verdicts or to be judged by --config")
    sub.add_argument("--config", help="a config whose judging jobs are measured; default: the recorded verdicts")
    sub.add_argument("--to", required=True, metavar="FILE.json", help="the calibration; its report lies beside it")
    sub.add_argument("--name", help="of the run that --config makes (default: one for these gold items and judges)")
    sub.add_argument("--runs", metavar="DIR", help="where runs lie (default: runs_dir of the config)")
    sub.add_argument("--executor", choices=("ray", "local"), help="default: the config's")
    sub.add_argument("--address", help="a Ray cluster to join")


def _config(arguments: argparse.Namespace) -> dict[str, Any]:
    """The config with what the command line overrides: where it runs, never what it makes."""
    from pipeline.config import read_config

    given = {"runs_dir": arguments.runs, "executor": arguments.executor, "address": arguments.address}
    return read_config(arguments.config) | {key: value for key, value in given.items() if value is not None}


def _first(arguments: argparse.Namespace) -> dict[str, Any]:
    """The config; of one with rounds the first."""
    from pipeline.iterate import of_round

    return of_round(_config(arguments))


def _run(arguments: argparse.Namespace) -> None:
    from pipeline.report import print_report
    from pipeline.run import execute

    driver = execute(_first(arguments), arguments.rebuild, arguments.plain)
    print_report(driver.store.root)


def _iterate(arguments: argparse.Namespace) -> None:
    from pipeline.iterate import iterate

    iterate(_config(arguments), arguments.plain)


def _check(arguments: argparse.Namespace) -> None:
    from pipeline.check import check

    check(_first(arguments), arguments.n)


def _preview(arguments: argparse.Namespace) -> None:
    from pipeline.preview import preview

    preview(_first(arguments), arguments.n)


def _calibrate(arguments: argparse.Namespace) -> None:
    from pipeline.calibrate import calibrate

    calibrate(arguments.gold, arguments.to, _config(arguments) if arguments.config else None, arguments.name)


def _status(arguments: argparse.Namespace) -> None:
    from pipeline.report import print_status

    print_status(arguments.run)


def _report(arguments: argparse.Namespace) -> None:
    from pipeline.report import print_report

    print_report(arguments.run, arguments.json)
    if not arguments.json:
        from pipeline.report_page import write_page

        print(f"look at {write_page(arguments.run, arguments.to)}")


def _show(arguments: argparse.Namespace) -> None:
    from pipeline.show import show

    show(arguments.run, arguments.prompt_id)


def _export(arguments: argparse.Namespace) -> None:
    from pipeline.pictures import FORMATS, export_trees

    if arguments.format in FORMATS:
        export_trees(arguments.run, arguments.to, arguments.format)
        return
    from pipeline.export import export

    names = ("format", "max_length", "tokenizer", "table", *OPTIONAL_COLUMNS)
    fields = {name: value for name in names if (value := getattr(arguments, name)) is not None}
    export(arguments.run, arguments.to, fields)


def _audit(arguments: argparse.Namespace) -> None:
    from pipeline.audit import audit

    audit(arguments.run, arguments.to, arguments.fail_on)


if __name__ == "__main__":
    sys.exit(main())
