"""Models on disk: where they are, and what identifies them."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from pipeline.engine import resolve_path
from pipeline.errors import PlanError

_WHOLE = 16 << 20  # files up to this many bytes are hashed whole
_BLOCK = 64 << 10


def find_model(model: str, field: str = "model") -> str:
    """The folder of a local model, or `model` itself where it can be a hub name and a hub may be asked.

    Raises PlanError for a path that does not exist, in milliseconds and without loading anything.
    """
    if not model:
        raise PlanError(f"{field} is empty; give a folder or a hub name such as org/name")
    folder = resolve_path(model)
    if folder.is_dir():
        return str(folder)
    looks_like_path = model.startswith((".", "/", "~")) or model.count("/") != 1 or folder.parent.is_dir()
    if looks_like_path:
        raise PlanError(
            f"{field} {model!r} does not exist: no folder {folder}; give a folder or a hub name such as org/name"
        )
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}:
        raise PlanError(f"{field} {model!r} is not a local folder and HF_HUB_OFFLINE is set; give a folder that exists")
    return model


def model_digest(folder: Path) -> str:
    """16 hex digits that identify a model's files by content; of large files size and 64 evenly spread blocks count."""
    whole = hashlib.sha256()
    names = sorted(
        p for p in folder.iterdir() if p.suffix in {".json", ".safetensors", ".jinja", ".bin", ".model", ".gguf"}
    )
    for path in names:
        size = path.stat().st_size
        whole.update(f"{path.name}\0{size}\0".encode())
        with path.open("rb") as file:
            if size <= _WHOLE:
                whole.update(file.read())
                continue
            for i in range(64):
                file.seek((size - _BLOCK) * i // 63)
                whole.update(file.read(_BLOCK))
    return whole.hexdigest()[:16]
