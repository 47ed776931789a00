"""TRL's SFTTrainer on the same rows, in an environment of its own: `python -m cluster.bench.train.peers.trl_sft JOB OUT`.

At its best setting here: no gradient checkpointing (its default recomputes), rows grouped by length, nothing logged but the loss.
"""

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset  # type: ignore[import-not-found]
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import SFTConfig, SFTTrainer  # type: ignore[import-not-found]


class Clock(TrainerCallback):
    def __init__(self) -> None:
        self.began = 0.0
        self.step_s: list[float] = []

    def on_step_begin(self, *args: object, **kwargs: object) -> None:
        now = time.perf_counter()
        self.step_s += [now - self.began] if self.began else []
        self.began = now

    def on_train_end(self, *args: object, **kwargs: object) -> None:
        self.step_s.append(time.perf_counter() - self.began)


def main(job: dict[str, Any]) -> dict[str, Any]:
    torch.set_num_threads(job["threads"])
    rows = [row for batch in job["batches"] for row in batch]
    data = Dataset.from_dict(
        {
            "input_ids": [ids for ids, _ in rows],
            "completion_mask": [[int(at >= start) for at in range(len(ids))] for ids, start in rows],
        }
    )
    settings = SFTConfig(
        output_dir=job["scratch"],
        per_device_train_batch_size=len(job["batches"][0]),
        max_steps=len(job["batches"]),
        learning_rate=job["learning_rate"],
        lr_scheduler_type="constant",
        weight_decay=job["weight_decay"],
        max_grad_norm=1.0,
        optim="adamw_torch",
        bf16=job["bf16"],
        use_cpu=True,
        gradient_checkpointing=False,
        packing=False,
        max_length=None,
        completion_only_loss=True,
        train_sampling_strategy="group_by_length",
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        seed=0,
    )
    clock = Clock()
    trainer = SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(job["base"], dtype=torch.float32),
        args=settings,
        train_dataset=data,
        processing_class=AutoTokenizer.from_pretrained(job["base"]),
        peft_config=LoraConfig(r=job["rank"], lora_alpha=job["alpha"], lora_dropout=0.0, target_modules="all-linear"),
        callbacks=[clock],
    )
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return {"losses": losses, "step_s": clock.step_s, "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(json.dumps(main(json.loads(Path(sys.argv[1]).read_text()))))
