"""How sure an author was of what it wrote (V11; spec judges C2): information about it, and never evidence for it."""

from __future__ import annotations

import math
from collections.abc import Sequence

from msgspec.structs import replace

from pipeline.engine import Engine, ScoreRequest
from pipeline.errors import Rejected
from pipeline.records import Message, Rationale
from stages.judges.calls import ask_each

Said = tuple[Rationale, tuple[Message, ...]]  # a rationale, and what its author was asked


async def with_certainty(said: Sequence[Said], author: Engine) -> list[Rationale]:
    """The rows with the mean over the answer's tokens of KL(p ‖ uniform) in nats, where they were kept.

    Null stays what was refused, and what the engine cannot measure. Raises EngineError.
    """
    rows = [row for row, _ in said]
    kept = [n for n, row in enumerate(rows) if row.status == "ok" and row.raw_text]
    asked = [ScoreRequest(rows[n].raw_text or "", messages=said[n][1], measure="certainty") for n in kept]
    for n, tokens in zip(kept, await ask_each(author.score, asked), strict=True):
        if not isinstance(tokens, Rejected) and tokens:
            mean = math.fsum(tokens) / len(tokens)
            rows[n] = replace(rows[n], verify=replace(rows[n].verify, self_certainty=mean))
    return rows
