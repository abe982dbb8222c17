"""Looks at shards through Ray Data: one row per shard goes in, one row with what was noted of it comes out.

Ray Data writes nothing here and never makes several rows of one: its sinks are not atomic, and its checkpoint loses rows
where one id makes several.
"""

from __future__ import annotations

import functools
import logging
import traceback
from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np
import ray
from ray.exceptions import RayError

from pipeline import errors
from pipeline.dataset import Columns, Look
from pipeline.replica import task_worker

BLOCKS = 256  # at most; each costs some 8 ms
_Packed = dict[str, tuple[str, list[int], bytes] | list[str] | list[bytes]]


def look_at_shards(
    setup: tuple[str, list[Any]], job: str, look: Look, n_shards: int, cpus: int
) -> Iterator[tuple[int, Columns]]:
    """(shard, what `look` noted), in no order. setup: the run's root, and a reference to the workers' Setup in a list.

    Raises what `look` raised (RunError for what is none of our errors), and EngineError when workers died.
    """
    import ray.data  # half a second, for runs that have a dataset stage

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False  # the run has its own
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    shards = ray.data.from_items(list(range(n_shards)), override_num_blocks=min(n_shards, BLOCKS))
    # no CPU is asked for: engines may hold them all, and a task that waits for one would wait for ever
    noted = shards.map_batches(
        functools.partial(_look, setup=setup, job=job, look=look),
        batch_size=None, num_cpus=0, compute=ray.data.TaskPoolStrategy(size=cpus),
    )  # fmt: skip
    try:
        for batch in noted.iter_batches(batch_size=None, batch_format="numpy", prefetch_batches=0):
            for shard, packed, failure in zip(batch["shard"], batch["noted"], batch["failure"], strict=True):
                if failure:
                    raise failed(job, int(shard), failure)
                yield int(shard), unpack(packed)
    except RayError as error:
        raise errors.EngineError(
            f"job {job}: workers died ({str(error).strip().splitlines()[0]}); run it again"
        ) from None


def _look(batch: Columns, setup: tuple[str, list[Any]], job: str, look: Look) -> dict[str, Any]:
    """A row per shard. What `look` raises travels as text: of an exception Ray Data leaves neither type nor message."""
    shards = [int(shard) for shard in batch["item"]]
    noted, failures = [], []
    root, (reference,) = setup
    for shard in shards:
        try:
            worker = task_worker(root, lambda: ray.get(reference))
            noted.append(pack(look(worker.examples(job, shard))))
            failures.append("")
        except Exception as error:
            noted.append(b"")
            failures.append("\n".join((type(error).__name__, str(error), traceback.format_exc())))
    return {"shard": np.array(shards), "noted": _objects(noted), "failure": _objects(failures)}


def _objects(values: list[Any]) -> np.ndarray:
    return np.fromiter(values, dtype=object, count=len(values))


def failed(job: str, shard: int, failure: str) -> Exception:
    """The error that `_look` wrote down: one of ours as it was, any other as a RunError with its traceback."""
    name, message, trace = failure.split("\n", 2)
    known = getattr(errors, name, None)
    if isinstance(known, type) and issubclass(known, errors.PrefsynthError):
        error: Exception = known(message)
    else:
        error = errors.RunError(f"job {job}, shard {shard}: {name}: {message}")
        error.add_note(trace)
    return error


def pack(columns: Columns) -> bytes:
    """Columns as bytes: numbers as they lie in memory, text and byte strings as lists."""
    packed: _Packed = {
        name: column.tolist() if column.dtype == object else (column.dtype.str, list(column.shape), column.tobytes())
        for name, column in columns.items()
    }
    return msgspec.msgpack.encode(packed)


def unpack(packed: bytes) -> Columns:
    """The columns that `pack` was given."""
    found: Columns = {}
    for name, value in msgspec.msgpack.decode(packed).items():
        if len(value) == 3 and isinstance(value[1], list):
            found[name] = np.frombuffer(value[2], dtype=value[0]).reshape(value[1])
        else:
            found[name] = _objects(value)
    return found
