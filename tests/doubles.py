"""An engine that answers nothing: what a double in a test inherits and overrides."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.engine import Completion, Request, RewardRequest, ScoreRequest
from pipeline.errors import EngineError


class Mute:
    """Every call is an error."""

    async def generate(self, requests: Sequence[Request]) -> list[list[Completion]]:
        """See Engine."""
        raise EngineError("not scripted")

    async def score(self, requests: Sequence[ScoreRequest]) -> list[list[float]]:
        """See Engine."""
        raise EngineError("not scripted")

    async def reward(self, requests: Sequence[RewardRequest]) -> list[list[float]]:
        """See Engine."""
        raise EngineError("not scripted")

    async def embed(self, texts: Sequence[str]) -> np.ndarray:
        """See Engine."""
        raise EngineError("not scripted")

    async def close(self) -> None:
        """See Engine."""
        return

    def stats(self) -> dict[str, float]:
        """See Engine."""
        return {}
