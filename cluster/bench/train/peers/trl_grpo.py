"""TRL's GRPOTrainer with our frozen discriminator as reward function: `python -m cluster.bench.train.peers.trl_grpo JOB OUT`.

The same weights, LoRA, prompts and samples a step; the discriminator reads the features that the frozen generator has of a text, as it does
when it serves. No gradient checkpointing, no logging; generation by transformers, the only one of TRL's that a CPU has.
"""

import json
import resource
import statistics
import sys
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset  # type: ignore[import-not-found]
from peft import LoraConfig
from trl import GRPOConfig, GRPOTrainer  # type: ignore[import-not-found]

from cluster.bench.train.peers.trl_sft import Clock
from common.bundle.load import load_bundle
from common.features.snapshot import Snapshot
from common.generation.features import token_features
from common.language.prompt import build_prompt
from train_app.data.examples import examples
from train_app.data.split import split

FEATURE_BATCH = 32


def main(job: dict[str, Any]) -> dict[str, Any]:
    torch.set_num_threads(job["threads"])
    bundle, frozen = (load_bundle(Path(job["bundle"]), dtype="float32") for _ in range(2))
    discriminator = bundle.discriminator
    assert discriminator is not None
    vocabulary, tokenizer = bundle.pack.vocabulary, bundle.language.tokenizer
    rows = split(examples(Snapshot.open(job["snapshot"]), vocabulary=vocabulary)).discriminator
    prompts = [build_prompt(example.context, vocabulary=vocabulary).text for example in rows]
    data = Dataset.from_dict({"prompt": prompts, "controls": [json.dumps(dict(example.context.controls)) for example in rows]})

    lengths: list[int] = []

    def reward(prompts: list[str], completion_ids: list[list[int]], controls: list[str], **others: object) -> list[float]:
        given = [tokenizer(prompt, add_special_tokens=False)["input_ids"] for prompt in prompts]
        lengths.extend(map(len, completion_ids))
        texts = [(*prompt, *ids) for prompt, ids in zip(given, completion_ids, strict=True)]
        features = []
        for start in range(0, len(texts), FEATURE_BATCH):
            part, lens = texts[start : start + FEATURE_BATCH], [len(prompt) for prompt in given[start : start + FEATURE_BATCH]]
            with torch.no_grad():
                features += token_features(frozen.language.model, part, prompt_lens=lens)
        return discriminator.log_real(features, [json.loads(one) for one in controls])

    settings = GRPOConfig(
        output_dir=job["scratch"],
        per_device_train_batch_size=job["prompts"] * job["samples"],
        num_generations=job["samples"],
        max_steps=job["steps"],
        max_completion_length=job["max_new_tokens"],
        temperature=1.0,
        learning_rate=3e-4,
        beta=0.05,
        bf16=job["bf16"],
        use_cpu=True,
        gradient_checkpointing=False,
        logging_strategy="no",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        seed=0,
    )
    clock = Clock()
    trainer = GRPOTrainer(
        model=bundle.language.model,
        reward_funcs=reward,
        args=settings,
        train_dataset=data,
        processing_class=tokenizer,
        peft_config=LoraConfig(r=job["rank"], lora_alpha=job["alpha"], lora_dropout=0.0, target_modules="all-linear"),
        callbacks=[clock],
    )
    trainer.train()
    told = {"tokens_per_text": statistics.fmean(lengths)}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"losses": [], "step_s": clock.step_s, "peak_mib": peak, "told": told}


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(json.dumps(main(json.loads(Path(sys.argv[1]).read_text()))))
