"""Rows of Hugging Face data sets through the `datasets` library: from the hub, or local files of a format it knows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from pipeline.engine import resolve_path
from pipeline.errors import PlanError
from stages.sources.readers import BATCH, Item, hash_of, stamp_of


class Hub(BaseModel):
    """The config's `hf:` block: arguments of `datasets.load_dataset`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str
    name: str | None = None
    split: str = "train"
    revision: str | None = None
    data_files: str | tuple[str, ...] | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        """Local files it names; empty for a data set on the hub."""
        given = (self.data_files,) if isinstance(self.data_files, str) else self.data_files or ()
        local = [resolve_path(f) for f in given] or sorted(resolve_path(self.path).glob("**/*"))
        return tuple(f for f in local if f.is_file())

    @property
    def is_local(self) -> bool:
        """Whether it can be looked at without a network."""
        return bool(self.files)


@cache
def _load(hub: Hub) -> Any:
    import datasets  # optional, and slow to import

    given = (hub.data_files,) if isinstance(hub.data_files, str) else hub.data_files
    files = [str(resolve_path(f)) for f in given] if given else None
    folder = resolve_path(hub.path)
    where = str(folder) if folder.is_dir() else hub.path
    try:
        return datasets.load_dataset(where, hub.name, split=hub.split, revision=hub.revision, data_files=files)
    except (OSError, ValueError, RuntimeError) as error:
        first = str(error).strip().split("\n")[0]
        raise PlanError(f"hf data set {hub.path!r} cannot be loaded ({type(error).__name__}: {first})") from None


class HubDataset:
    """Rows of a Hugging Face data set, memory-mapped by the library."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.name = hub.path

    def stamp(self) -> str:
        """The arguments, and sizes and times of local files."""
        return f"{self.hub.model_dump_json()};{stamp_of(self.hub.files)}"

    def content(self) -> str:
        """The library's fingerprint for hub data, sha256 for local files."""
        return hash_of(self.hub.files) if self.hub.is_local else str(_load(self.hub)._fingerprint)

    def where(self, row: int) -> str:
        """Data set, split and row."""
        return f"{self.name}[{self.hub.split}]:{row + 1}"

    def rows(self, start: int, offset: int, columns: Iterable[str]) -> Iterator[Item]:
        """Rows from `start` on; columns that are not wanted (images, audio) are never decoded."""
        data = _load(self.hub)
        names = set(data.column_names)
        wanted = {c if c in names else c.split(".")[0] for c in columns} & names
        data = data.select_columns(sorted(wanted)) if wanted else data
        for first in range(start, len(data), BATCH):
            batch = data[first : min(first + BATCH, len(data))]
            keys = list(batch)
            for values in zip(*batch.values(), strict=True):
                yield 0, dict(zip(keys, values, strict=True))
