"""Embeddings of prompts, by which `dedup` finds those that ask the same in other words."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.errors import Rejected
from pipeline.records import Embedding, Prompt
from pipeline.stage import Context, Example, Stage
from stages.curate.near import compared


class Embed(Stage):
    """One embedding per prompt, of all its turns but the system's. `max_chars`: longer prompts are cut at the end."""

    engine: str
    max_chars: int = 4000

    def capabilities(self, alias: str) -> frozenset[str]:
        """Embeddings."""
        return frozenset({"embed"})

    async def process(self, example: Example[Prompt], ctx: Context) -> Sequence[Embedding]:
        """The embedding of the prompt, at length 1. Raises Rejected: empty_embedding, and what the engine raises."""
        [vector] = await ctx.engines[self.engine].embed([compared(example.prompt)[: self.max_chars]])
        length = float((vector**2).sum()) ** 0.5
        if not 0 < length < float("inf"):
            raise Rejected("empty_embedding", f"its length is {length:g}")
        unit = tuple((vector / length).tolist())
        return [Embedding(example.prompt.prompt_id, ctx.engine_models[self.engine], unit)]
