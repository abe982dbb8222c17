"""A killed run leaves no engine behind."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from pipeline.engine import ROOT

DRIVER = """
import asyncio, psutil, time
from pipeline.engines.vllm import Vllm

async def main():
    engine = await Vllm(model="models/abacus", max_model_len=128, cpu_kv_cache_gb=0.1).open()
    processes = engine.llm.engine_core.resources.engine_manager.processes
    print("engine", *[p.pid for p in processes], flush=True)
    await asyncio.Event().wait()

if __name__ == "__main__":
    asyncio.run(main())
"""


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vLLM is not installed")
@pytest.mark.skipif(not (ROOT / "models/abacus/model.safetensors").is_file(), reason="models/abacus has no weights")
def test_the_engines_process_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    (tmp_path / "driver.py").write_text(DRIVER)
    with subprocess.Popen(
        [sys.executable, str(tmp_path / "driver.py")],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    ) as driver:
        assert driver.stdout is not None
        told = next(line for line in driver.stdout if line.startswith("engine "))
        engines = [psutil.Process(int(pid)) for pid in told.split()[1:]]
        driver.send_signal(signal.SIGKILL)
        _, alive = psutil.wait_procs(engines, timeout=60)
    assert engines
    assert not alive
