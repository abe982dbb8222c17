"""A train command for `prefsynth iterate`: TRL's DPO on the token ids of an export in the format token-dpo, on a CPU.

`python scripts/train_dpo.py --data EXPORT --model MODEL --to FOLDER [--set learning_rate=1e-4 …]`; what is set are fields
of TRL's DPOConfig. Copy it and make it yours: a larger model wants its own settings and a GPU.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

import torch
from datasets import Dataset, load_dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import DPOConfig, DPOTrainer

SETTINGS: dict[str, Any] = {
    "learning_rate": 2e-4,  # for a model of two million weights; a thousandth of it for one of eight billion
    "beta": 0.1,
    "loss_type": ["sigmoid", "sft"],  # the second keeps the chosen answers likely, which DPO alone does not
    "loss_weights": [1.0, 1.0],
    "num_train_epochs": 2,
    "per_device_train_batch_size": 16,
    "max_length": 256,
    "warmup_steps": 2,
}
QUIET = {"use_cpu": True, "bf16": False, "gradient_checkpointing": False, "dataloader_pin_memory": False,
         "save_strategy": "no", "report_to": "none", "disable_tqdm": True, "logging_steps": 1000}  # fmt: skip


class TokenDPOTrainer(DPOTrainer):  # type: ignore[misc]
    """As docs/token_dpo.md has it."""

    def _prepare_dataset(self, dataset: Dataset, *args: Any, **kwargs: Any) -> Dataset:
        return dataset  # it holds token ids


def train(model: Any, tokenizer: Any, rows: Dataset, settings: dict[str, Any]) -> None:
    """Trains the model in place. settings: fields of DPOConfig, `output_dir` among them."""
    arguments = DPOConfig(**{**QUIET, **SETTINGS, **settings})
    TokenDPOTrainer(model, args=arguments, train_dataset=rows, processing_class=tokenizer).train()


def main() -> None:
    """Trains and saves."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("data", "model", "to"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--most", type=int, help="rows to train on; default: all")
    parser.add_argument("--set", nargs="*", default=[], metavar="FIELD=VALUE", help="of DPOConfig, values as JSON")
    options = parser.parse_args()
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(options.model)
    model = AutoModelForCausalLM.from_pretrained(options.model, dtype=torch.float32)
    rows = load_dataset("parquet", data_files=f"{options.data}/*.parquet", split="train")
    rows = rows.select(range(min(len(rows), options.most or len(rows))))
    given = {name: json.loads(value) for name, _, value in (each.partition("=") for each in options.set)}
    train(model, tokenizer, rows, {"output_dir": options.to, **given})
    model.save_pretrained(options.to)
    tokenizer.save_pretrained(options.to)


if __name__ == "__main__":
    main()
