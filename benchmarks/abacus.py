"""What the embedded model can do, as `python -m models.abacus.evaluate` measures it."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.figures import ROOT, Figure


def run() -> list[Figure]:
    """The figures of the model card, measured now."""
    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / "abacus.json"
        subprocess.run([sys.executable, "-m", "models.abacus.evaluate", "--json", str(file)], cwd=ROOT, check=True)
        found = json.loads(file.read_text(encoding="utf-8"))
    return [Figure(row["name"], round(row["value"], 4), "share", row["wanted"], {"n": row["n"]}) for row in found]
