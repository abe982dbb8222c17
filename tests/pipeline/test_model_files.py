"""Local models: where they are and what identifies them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipeline.errors import PlanError
from pipeline.model_files import files_digest, find_model, model_digest
from pipeline.tokenizer import load_tokenizer


def test_a_folder_is_found_from_here_and_below_the_installation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/config.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    assert Path(find_model("mine")) == Path("mine")
    assert Path(find_model("models/abacus")).is_dir()


def test_a_misspelt_model_of_the_installation_is_no_hub_name_wherever_one_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for find in (find_model, load_tokenizer):
        with pytest.raises(PlanError, match=r"'models/abbacus' does not exist"):
            find("models/abbacus")


def test_a_folder_without_a_config_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match=r"is a folder without config\.json"):
        find_model(str(tmp_path))


def test_without_a_hub_a_model_counts_that_was_downloaded_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(PlanError, match="not in the hub's cache, and HF_HUB_OFFLINE is set"):
        find_model("org/name")
    (tmp_path / "models--org--name").mkdir()
    assert find_model("org/name") == "org/name"


def test_the_digest_follows_content_and_not_other_files(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    first = model_digest(tmp_path)
    (tmp_path / "README.md").write_text("new words")
    os.utime(tmp_path / "config.json", (1, 1))
    assert model_digest(tmp_path) == first
    (tmp_path / "model.safetensors").write_bytes(b"Weights")
    assert model_digest(tmp_path) != first


def test_a_large_file_is_known_by_its_size_and_by_blocks_up_to_its_last_byte(tmp_path: Path) -> None:
    big = tmp_path / "big.safetensors"

    def digest(size: int, last: bytes) -> str:
        with big.open("wb") as file:
            file.truncate(size)  # sparse: no such amount is written
            file.seek(size - 1)
            file.write(last)
        return files_digest([big])

    assert digest(100 << 20, b"a") == digest(100 << 20, b"a")
    assert len({digest(100 << 20, b"a"), digest(100 << 20, b"b"), digest((100 << 20) + 1, b"a")}) == 3
