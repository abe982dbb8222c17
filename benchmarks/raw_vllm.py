"""The yardstick of `generate_vs_raw`: plain `vllm.LLM.generate` in a process of its own, one round per line of input."""

from __future__ import annotations

import json
import sys
import time
from typing import Any


def main() -> None:
    """Reads one JSON line with model, prompts (token ids), engine arguments and sampling; then a round per further line."""
    job: dict[str, Any] = json.loads(sys.stdin.readline())
    from vllm import LLM, SamplingParams  # the slow import comes after the pipe is known to work

    llm = LLM(model=job["model"], disable_log_stats=True, **job["engine"])
    prompts = [{"prompt_token_ids": ids} for ids in job["prompts"]]
    print("ready", flush=True)
    for line in sys.stdin:
        seeded = json.loads(line)["seeded"]
        params = [SamplingParams(**job["sampling"], seed=1000 + i if seeded else None) for i in range(len(prompts))]
        started = time.monotonic()
        outputs = llm.generate(prompts, params, use_tqdm=False)
        seconds = time.monotonic() - started
        tokens = sum(len(o.token_ids) for output in outputs for o in output.outputs)
        print("round " + json.dumps({"tokens": tokens, "seconds": seconds}), flush=True)


if __name__ == "__main__":
    main()
