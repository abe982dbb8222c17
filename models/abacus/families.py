"""All families of stories by name."""

from __future__ import annotations

import random
from collections.abc import Callable

from models.abacus.stories import road, shop, things
from models.abacus.stories_work import book, farm, hall, wages
from models.abacus.telling import Story

FAMILIES: dict[str, Callable[[random.Random], Story]] = {
    "book": book,
    "farm": farm,
    "hall": hall,
    "road": road,
    "shop": shop,
    "things": things,
    "treasures": things,  # the widest family is told twice as often
    "wages": wages,
}
