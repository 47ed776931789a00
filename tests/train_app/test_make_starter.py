"""The starter base is made by one repeatable call, and what it writes is a base like any other."""

from pathlib import Path

import pytest
from rich.console import Console

from common.errors import ConfigError
from common.language.base_model import base_digest, load_base
from train_app.make_starter import make_base
from train_app.pretraining.loop import PretrainingConfig

TINY = PretrainingConfig(
    vocab_size=4300,
    hidden_size=32,
    num_layers=1,
    num_heads=2,
    num_kv_heads=1,
    intermediate_size=32,
    batch_rows=1,
    row_len=256,
    tokenizer_documents=40,
    held_out_listings=8,
)


def test_the_same_seed_and_steps_write_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        report = make_base(tmp_path / name, seed=2, steps=2, config=TINY, console=Console(quiet=True))
    assert base_digest(tmp_path / "one") == base_digest(tmp_path / "two")
    assert report.perplexity > 1
    language = load_base(str(tmp_path / "one"), dtype="bfloat16")
    assert language.bos_id is None
    assert language.tokenizer.convert_ids_to_tokens(language.eos_id) == "<|end|>"


def test_steps_and_minutes_exclude_each_other(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="either steps or minutes"):
        make_base(tmp_path, seed=1, config=TINY)
    with pytest.raises(ConfigError, match="either steps or minutes"):
        make_base(tmp_path, seed=1, steps=1, minutes=1, config=TINY)
