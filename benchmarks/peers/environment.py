"""The environment that distilabel runs in, made once from requirements/peers.txt under build/ (`make clean` removes it)."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
PINS = ROOT / "requirements" / "peers.txt"
FOLDER = ROOT / "build" / "peers"


def peers_python(folder: Path = FOLDER) -> Path:
    """The interpreter; packages come from where pip is configured to look. Raises SystemExit when pip fails."""
    python, stamp = folder / "bin" / "python", folder / "pins.txt"
    pins = PINS.read_text(encoding="utf-8")
    if stamp.exists() and stamp.read_text(encoding="utf-8") == pins:
        return python
    print(f"making {folder} from {PINS.name}", file=sys.stderr, flush=True)
    venv.create(folder, clear=True, with_pip=True)
    command = [str(python), "-m", "pip", "install", "-qq", "--no-deps", "--no-compile", "-r", str(PINS)]
    if subprocess.run(command, env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}).returncode:
        sys.exit(f"pip cannot install {PINS} (its reason is above); the benchmark needs an index with these packages")
    stamp.write_text(pins, encoding="utf-8")
    return python
