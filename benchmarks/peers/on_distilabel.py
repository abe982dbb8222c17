"""The job of benchmarks/throughput.py on distilabel: its own steps in its default Pipeline, two canned LLMs.

    python -m benchmarks.peers.on_distilabel prompts.jsonl out.parquet

As its documentation has it: TextGeneration, UltraFeedback (which judges the four candidates of a prompt in one call,
where the others make four) and FormatTextGenerationDPO, with its defaults: batches of 50, results cached on disk.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from distilabel.models.llms import LLM
from distilabel.pipeline import Pipeline
from distilabel.steps import FormatTextGenerationDPO, LoadDataFromDicts
from distilabel.steps.tasks import TextGeneration, UltraFeedback

from benchmarks.peers.answers import answers, scores


def _output(texts: list[str]) -> dict[str, Any]:
    return {"generations": texts, "statistics": {"input_tokens": [40], "output_tokens": [60] * len(texts)}}


class Policy(LLM):  # type: ignore[misc]
    """Canned candidates."""

    @property
    def model_name(self) -> str:
        return "policy"

    def generate(self, inputs: list[Any], num_generations: int = 1) -> list[Any]:
        """One output of `num_generations` texts for each conversation."""
        return [_output(answers(messages[-1]["content"], num_generations)) for messages in inputs]


class Judge(LLM):  # type: ignore[misc]
    """A canned rating for each text of a question."""

    @property
    def model_name(self) -> str:
        return "judge"

    def generate(self, inputs: list[Any], num_generations: int = 1) -> list[Any]:
        """One output for each conversation, in the form that UltraFeedback asks for."""
        found = [scores(messages[-1]["content"]) for messages in inputs]
        return [_output(["\n\n".join(f"Rating: {n}\nRationale: It is {n}." for n in numbers)]) for numbers in found]


def main(source: str, target: str) -> None:
    """Prompts in, pairs out."""
    rows = [{"instruction": json.loads(line)["prompt"]} for line in Path(source).read_text().splitlines()]
    with Pipeline("three-stages", cache_dir=f"{target}.cache") as pipeline:
        (
            LoadDataFromDicts(data=rows)
            >> TextGeneration(
                llm=Policy(), num_generations=4, group_generations=True, output_mappings={"generation": "generations"}
            )
            >> UltraFeedback(llm=Judge())
            >> FormatTextGenerationDPO()
        )
    pipeline.run()["default"]["train"].to_parquet(target)


if __name__ == "__main__":
    main(*sys.argv[1:])
