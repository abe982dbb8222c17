"""How one file gets to its place whole: written beside and renamed on a disk, one put with patience in an object store."""

from __future__ import annotations

import errno
import os
from typing import Any

import pyarrow as pa
import pyarrow.fs as pafs

from pipeline.errors import RunError

S3_ATTEMPTS = 10  # of a request that fails in passing; the waits between them double, some 40 s in all


def open_store(uri: str) -> tuple[Any, str]:
    """The file system of an URI that pyarrow understands, and the path in it. Raises OSError, ArrowException."""
    # without it Arrow begins a multipart upload for every object, however small
    fs, base = pafs.FileSystem.from_uri(uri + ("?allow_delayed_open=true" if uri.startswith("s3://") else ""))
    if isinstance(fs, pafs.S3FileSystem):  # by default it gives up after six seconds, and that no URI can say
        _, (options,) = fs.__reduce__()
        fs = pafs.S3FileSystem(**options, retry_strategy=pafs.AwsStandardS3RetryStrategy(max_attempts=S3_ATTEMPTS))
    return fs, base


def put(target: str, data: pa.Buffer) -> None:
    """Writes a file on a disk whole or not at all. Raises RunError when the disk is full."""
    try:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        _replace(target, data)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise RunError(
                f"disk full while writing {target}; free space and run again, what is finished is kept"
            ) from None
        raise


def _replace(target: str, data: pa.Buffer) -> None:
    beside = f"{target}.tmp-{os.getpid()}-{os.urandom(3).hex()}"
    try:
        with open(beside, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, target)
    except BaseException:
        if os.path.exists(beside):
            os.unlink(beside)
        raise
