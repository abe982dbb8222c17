"""magpie: prompts that an aligned model writes by itself, when shown only what stands before a user's turn (Magpie).

    - {stage: prompts, path: data/domains.jsonl, columns: {prompt: system}}   # one row per kind of user, as a system text
    - stage: magpie
      engine: policy
      tokenizer: Qwen/Qwen3-8B
      pre_query: "<|im_start|>system\\n{system}<|im_end|>\\n<|im_start|>user\\n"
      n: 50
      sampling: {temperature: 1.0, max_tokens: 512, stop: ["<|im_end|>"]}

It makes prompts, which no later job of the same run sees: the next run reads them,
`{stage: prompts, path: runs/NAME/magpie, columns: {prompt: messages, base: base_prompt_id}, on_duplicate: reject}`, and
scores them as any others. The engine must take prompts as token ids (vllm does, an endpoint does not).
"""

from __future__ import annotations

from typing import ClassVar

from msgspec.structs import replace
from pydantic import Field

from pipeline.errors import Rejected
from pipeline.prompts import Template
from pipeline.records import Message, Prompt, Reject
from pipeline.stage import Context, Example, Stage
from pipeline.tokenizer import check_tokenizer, load_tokenizer
from stages.candidates.asking import Asking, Question, lost
from stages.candidates.making import Making, made_prompt
from stages.candidates.tagged import answer_body
from stages.judges.hygiene import as_data
from stages.judges.refusals import declines
from stages.pairs.select import normal_text


class Magpie(Asking, Stage):
    """`n` prompts for each row of the source, whose text takes the place of {system} in `pre_query`.

    pre_query: the model's chat format up to where the user begins to write. A prompt that was cut, is shorter than
    `min_chars`, ends with a colon (what it asks about is missing), or declines is none; equal ones count once.
    Counts: `lost:<reason>`.
    """

    version: ClassVar[int] = 1

    tokenizer: str
    pre_query: str = Field(min_length=1)
    n: int = Field(8, ge=1, le=4096)
    min_chars: int = Field(10, ge=1)
    max_attempts: int = Field(1, ge=1, le=10)  # another sample is as good: raise n

    def check(self) -> None:
        """Raises PlanError for a tokenizer that does not exist."""
        check_tokenizer(self.tokenizer)

    def templates(self) -> tuple[Template, ...]:
        """None: `pre_query` is the whole prompt."""
        return ()

    async def process(self, example: Example[Prompt], ctx: Context) -> list[Prompt | Reject]:
        """The prompts, and a reject for each sample that is none. Raises EngineError."""
        seed = example.prompt
        text = self.pre_query.replace("{system}", as_data(seed.text))  # as data: no control tokens but the config's own
        token_ids = tuple(load_tokenizer(self.tokenizer).encode(text))
        questions = [Question(f"magpie:{k}", token_ids=token_ids) for k in range(self.n)]
        made: dict[str, Prompt | Reject] = {}
        bare = replace(seed, messages=(Message("user", seed.text),))  # the system text is no part of the new prompts
        for question, heard in zip(questions, await self.heard(seed, questions, self.read, ctx), strict=True):
            if isinstance(heard, Rejected):
                made[question.purpose] = lost(seed, heard, None, ctx)
            elif (known := normal_text(heard.value)) in made:
                made[question.purpose] = lost(seed, Rejected("duplicate", heard.value[:60]), None, ctx)
            else:
                made[known] = made_prompt(bare, heard.value, Making("magpie", seed.prompt_id))
        return list(made.values())

    def read(self, text: str) -> str:
        """The prompt. Raises Rejected: empty, short, colon, refused."""
        found = answer_body(text)
        if len(found) < self.min_chars:
            raise Rejected("short", f"{len(found)} characters: {found!r}")
        if found.endswith(":"):
            raise Rejected("colon", f"what is asked about is missing: {found[-60:]!r}")
        if declines(found):
            raise Rejected("refused", f"declines: {found[:60]!r}")
        return found
