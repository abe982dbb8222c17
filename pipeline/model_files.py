"""Models on disk: where they are, and what identifies them."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
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
        if field == "model" and not any((folder / name).is_file() for name in ("config.json", "params.json")):
            raise PlanError(f"model {model!r} is a folder without config.json; give one that a model was saved to")
        return str(folder)
    looks_like_path = model.startswith((".", "/", "~", "models/")) or model.count("/") != 1
    if looks_like_path or folder.parent.is_dir():
        raise PlanError(
            f"{field} {model!r} does not exist: no folder {folder}; give a folder or a hub name such as org/name"
        )
    offline = os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}
    if offline and not _is_cached(model):
        raise PlanError(
            f"{field} {model!r} is no local folder, not in the hub's cache, and HF_HUB_OFFLINE is set; "
            "give a folder that exists"
        )
    return model


def _is_cached(model: str) -> bool:
    """Whether an earlier download of a hub's model lies where the hub's library looks first."""
    home = os.environ.get("HF_HOME") or os.path.join(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "huggingface")
    hub = Path(os.environ.get("HF_HUB_CACHE") or os.path.join(home, "hub")).expanduser()
    return (hub / f"models--{model.replace('/', '--')}").is_dir()


def read_template(given: str | None) -> str | None:
    """The text of a chat template, given as such or as a file. Raises PlanError for a file that does not exist."""
    if given is None or "{" in given:
        return given
    try:
        return resolve_path(given).read_text(encoding="utf-8")
    except OSError:
        raise PlanError(f"chat_template {given!r} is neither a template's text nor a file that exists") from None


def adapter_rank(lora: str) -> int:
    """The rank of a LoRA adapter. Raises PlanError when its folder does not say."""
    try:
        return int(json.loads(Path(find_model(lora, "lora"), "adapter_config.json").read_text(encoding="utf-8"))["r"])
    except (OSError, ValueError, KeyError) as error:
        raise PlanError(f"lora {lora!r} has no adapter_config.json with r ({error})") from None


def model_digest(folder: Path) -> str:
    """What identifies a model: the digest of its configs, tokenizer and weights."""
    kinds = {".json", ".safetensors", ".jinja", ".bin", ".model", ".gguf"}
    return files_digest(sorted(path for path in folder.iterdir() if path.suffix in kinds))


def files_digest(paths: Iterable[Path]) -> str:
    """16 hex digits that identify files by name and content; of large files size and 64 evenly spread blocks count."""
    whole = hashlib.sha256()
    for path in paths:
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
