"""Writes the pin lists under requirements/ from the .in files: `make lock`.

Current pins stay where they still fit; `make lock ARGS=--upgrade` takes the newest that fit. Nothing is installed:
uv reads metadata only, so the GPU list is resolved without downloading its gigabytes.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

REQUIREMENTS = Path(__file__).resolve().parent.parent / "requirements"
UV = (
    *("uv", "pip", "compile", "--no-config", "--quiet", "--no-header"),
    *("--only-binary", ":all:", "--annotation-style", "line"),
    *("--python-version", "3.11", "--python-platform", "x86_64-manylinux_2_31"),
)
PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;]+)", re.MULTILINE)


def resolve(sources: Sequence[str], seed: Path, options: Sequence[str] = ()) -> str:
    """Complete pin list for the .in files `sources`; versions already in the file `seed` are preferred."""
    with tempfile.TemporaryDirectory() as scratch:
        listing = Path(scratch) / "list.txt"
        if seed.exists():
            shutil.copy(seed, listing)
        command = [sys.executable, "-m", *UV, *options, "--output-file", str(listing), *sources]
        result = subprocess.run(command, cwd=REQUIREMENTS, stdout=subprocess.DEVNULL)
        if result.returncode:
            sys.exit(f"make lock: no versions fit {', '.join(sources)} together; uv's reason is above")
        return listing.read_text()


def write(name: str, sources: str, listing: str) -> None:
    header = (
        f"# Made by `make lock` (uv pip compile, for Linux x86_64 and Python 3.11 on) from {sources}. "
        "To refresh: edit those, run `make lock`.\n"
    )
    (REQUIREMENTS / name).write_text(header + listing)
    print(f"make lock: requirements/{name}: {len(PIN.findall(listing))} packages")


def check_shared(base: str, top: str) -> None:
    """The dev list goes on top of either list: a package in both must have one version."""
    pins = dict(PIN.findall((REQUIREMENTS / base).read_text()))
    both = dict(PIN.findall((REQUIREMENTS / top).read_text()))
    if clashes := [
        f"{name} {pins[name]} and {both[name]}" for name in both if pins.get(name, both[name]) != both[name]
    ]:
        sys.exit(f"make lock: {base} and {top} disagree: {'; '.join(clashes)}; pin one version in common.in")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--upgrade", action="store_true", help="take the newest versions that fit")
    options = ["--upgrade"] if parser.parse_args().upgrade else []

    torch = re.search(r"^torch==\S+$", (REQUIREMENTS / "cpu.in").read_text(), re.MULTILINE)
    if torch is None:
        sys.exit("make lock: requirements/cpu.in names no torch; expected a line like torch==2.13.0+cpu")
    omit = ["--overrides", "cpu-omit.in"]
    cpu = resolve(["common.in", "cpu.in"], REQUIREMENTS / "cpu.txt", [*options, *omit])
    write("cpu.txt", "common.in, cpu.in and cpu-omit.in", f"{torch[0]}  # via -r cpu.in\n{cpu}")
    # Seeded with the CPU pins, so that the two lists differ only where vLLM's two builds do.
    gpu = resolve(["common.in", "gpu.in"], REQUIREMENTS / "cpu.txt")
    write("gpu.txt", "common.in and gpu.in", gpu)
    dev = resolve(["dev.in"], REQUIREMENTS / "dev.txt", [*options, "--constraints", "cpu.txt"])
    write("dev.txt", "dev.in, under the pins of cpu.txt", dev)
    # In a venv of its own: nothing else has to agree with it.
    docs = resolve(["docs.in"], REQUIREMENTS / "docs.txt", options)
    write("docs.txt", "docs.in", docs)
    write("peers.txt", "peers.in", resolve(["peers.in"], REQUIREMENTS / "peers.txt", options))
    check_shared("cpu.txt", "dev.txt")
    check_shared("gpu.txt", "dev.txt")


if __name__ == "__main__":
    main()
