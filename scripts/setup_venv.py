"""Makes and fills .venv from the pin lists under requirements/, when they have changed and not otherwise.

The Makefile calls it before every target, so the usual case (nothing to do) must cost milliseconds. It runs on any
Python that can say "too old", and on nothing but the standard library. An interrupted set-up leaves no stamp, so the
next call starts it over; a second call meanwhile waits for the first.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
LISTS_STAMP = VENV / ".stamp-lists"
PROJECT_STAMP = VENV / ".stamp-project"
# Address of PyTorch's index of CPU builds, asked only where pip, as configured, does not find torch's.
TORCH_CPU_INDEX = os.environ.get("TORCH_CPU_INDEX")


def say(text: str) -> None:
    print(f"set-up: {text}", flush=True)


def gpu_answers() -> bool:
    """Whether nvidia-smi lists a GPU. A driver that hangs or fails counts as none."""
    if shutil.which("nvidia-smi") is None:
        return False
    try:
        listing = subprocess.run(["nvidia-smi", "-L"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return listing.returncode == 0 and b"GPU" in listing.stdout


def digest(*parts: bytes) -> str:
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def stamped(stamp: Path, value: str) -> bool:
    return PYTHON.exists() and stamp.exists() and stamp.read_text() == value


def pip(*arguments: str, quiet: bool = False) -> bool:
    """Runs the venv's pip, where pip is configured to look; returns whether it succeeded."""
    environment = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1", "PIP_USER": "0"}
    # --no-compile: most modules here are never imported; those that are, Python compiles the first time.
    command = [str(PYTHON), "-m", "pip", "install", "-qq", "--no-deps", "--no-compile", *arguments]
    errors = subprocess.DEVNULL if quiet else None
    # The open lock goes along (close_fds): should this process be killed, the next set-up waits for an orphaned pip.
    return subprocess.run(command, env=environment, stderr=errors, close_fds=False).returncode == 0


def install_torch_cpu(pin: str) -> None:
    """From wherever pip is configured to look, else from the index that TORCH_CPU_INDEX names."""
    if pip(pin, quiet=True) or (TORCH_CPU_INDEX and pip("--index-url", TORCH_CPU_INDEX, pin)):
        return
    sys.exit(
        f"set-up: pip finds no {pin}, PyTorch's CPU build, where it is configured to look; set TORCH_CPU_INDEX to the "
        "address that PyTorch's install page gives for Linux, Pip, CPU, and run make again"
    )


def install(lists: list[Path]) -> None:
    """Fills the venv. Pins of a list are complete, so pip resolves nothing (--no-deps)."""
    pins = [line.split("#")[0].strip() for path in lists for line in path.read_text().splitlines()]
    pins = sorted({pin for pin in pins if pin})
    say(f"installing {len(pins)} packages from {' and '.join(path.name for path in lists)}; this takes minutes")
    for torch in [pin for pin in pins if pin.startswith("torch==") and pin.endswith("+cpu")]:
        install_torch_cpu(torch)
        pins.remove(torch)
    with tempfile.TemporaryDirectory() as scratch:
        rest = Path(scratch) / "pins.txt"
        rest.write_text("\n".join(pins))
        # What arrived is in pip's cache, so the second try only fetches what a dropped connection cost.
        if not (pip("-r", str(rest)) or pip("-r", str(rest))):
            sys.exit("set-up: pip failed (its reason is above); `make setup` tries again")


def make_venv(lists: list[Path], value: str) -> None:
    if sys.version_info < (3, 11):  # noqa: UP036 - this file is what says so
        version = sys.version.split()[0]
        sys.exit(f"set-up: Python 3.11 or newer is needed, this is {version}; run make PYTHON=/path/to/python3.11")
    if importlib.util.find_spec("venv") is None or importlib.util.find_spec("ensurepip") is None:
        sys.exit("set-up: Python's venv module is missing; install it (Debian, Ubuntu: apt-get install python3-venv)")
    say(f"making .venv with {sys.executable} (Python {sys.version.split()[0]})")
    for stamp in (LISTS_STAMP, PROJECT_STAMP):
        stamp.unlink(missing_ok=True)
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(VENV)], check=True)
    install(lists)
    LISTS_STAMP.write_text(value)


def install_project(value: str) -> None:
    """The `prefsynth` command, working on this checkout. Needs no index: setuptools is in the list."""
    if not pip("--no-index", "--no-build-isolation", "--editable", str(ROOT)):
        sys.exit("set-up: cannot install the project itself (pip's reason is above); is pyproject.toml valid?")
    PROJECT_STAMP.write_text(value)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=("auto", "cpu", "gpu"), default="auto", help="which list (default: auto)")
    device = parser.parse_args().device
    gpu = device == "gpu" or (device == "auto" and gpu_answers())
    lists = [ROOT / "requirements" / name for name in ("gpu.txt" if gpu else "cpu.txt", "dev.txt")]

    with open(ROOT / ".venv.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        os.set_inheritable(lock.fileno(), True)
        began = time.monotonic()
        # A venv holds absolute paths, so a moved checkout needs a new one.
        wanted = digest(str(ROOT).encode(), *(path.read_bytes() for path in lists))
        project = digest((ROOT / "pyproject.toml").read_bytes())
        if stamped(LISTS_STAMP, wanted) and stamped(PROJECT_STAMP, project):
            return
        if not stamped(LISTS_STAMP, wanted):
            make_venv(lists, wanted)
        install_project(project)
        say(f"done in {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("set-up: interrupted; the next make starts it over")
