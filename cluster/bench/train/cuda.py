"""Supervised steps on a GPU: a base of half a billion random weights in bf16 with LoRA, `python -m cluster.bench.train.cuda WHO JOB OUT`.

WHO is `ours` (ce_step) or `bare` (peft, and cross-entropy over all logits). Texts are random ids: speed
and memory mean something, losses nothing. `told` has tokens a second, and MFU: the arithmetic a LoRA step needs, over what the card can do.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel

from cluster.bench.gpu import half_billion
from common.domain.decoding import DecodingParams
from common.generation.hf import HfEngine
from common.language.base_model import language_model, load_base
from common.packs.load import load_pack
from common.quality.verdict import Checker
from train_app.config import DiscriminatorStageConfig
from train_app.data.split import Splits
from train_app.stages.optimisation import Optimiser
from train_app.stages.parallel import Parallel
from train_app.stages.policy import Policy
from train_app.stages.sft import Row, ce_step
from train_app.stages.workbench import Workbench

PEAK_TFLOPS = {"H100": 989.0, "H200": 989.0, "A100": 312.0, "L40S": 362.0, "L4": 121.0, "4090": 165.0}
"""Dense bf16 of the makers' data sheets; of another card the MFU is not told."""
WARM_UP = 2


def main(who: str, job: dict[str, Any], *, model: PreTrainedModel | None = None, device: str = "cuda") -> dict[str, Any]:
    torch.manual_seed(0)
    model = half_billion() if model is None else model
    num_weights = sum(one.numel() for one in model.parameters())
    flops = flops_of_a_row(model, num_weights=num_weights, tokens=job["tokens"], answer=job["tokens"] - job["prompt"])
    batches = random_rows(job, vocab_size=model.config.vocab_size)
    step = {"ours": ours, "bare": bare}[who](model, job, device)
    losses, times = [], []
    for number, batch in enumerate(batches):
        began = time.perf_counter()
        losses.append(step(number, batch))  # a float: the GPU has finished
        times.append(time.perf_counter() - began)
    rate = job["rows"] / statistics.median(times[WARM_UP:])
    told = {"tokens_per_s": rate * job["tokens"], "weights": float(num_weights), "tflops": rate * flops / 1e12}
    peak = 0.0
    if device == "cuda":
        peak = torch.cuda.max_memory_allocated() / 2**20
        most = next((tflops for name, tflops in PEAK_TFLOPS.items() if name in torch.cuda.get_device_name()), None)
        told |= {"mfu": told["tflops"] / most, "peak_tflops": most} if most else {}
    return {"losses": losses, "step_s": times, "peak_mib": peak, "told": told}


def flops_of_a_row(model: PreTrainedModel, *, num_weights: int, tokens: int, answer: int) -> float:
    """Of a forward pass and the backward pass through frozen weights, 2 + 2 a weight and token (a full fine-tuning: 2 + 4); attention is
    4 T d a layer and token forward and twice that backward, of which half is masked. The head counts at answer tokens alone, for both."""
    config = model.config.get_text_config()
    head = config.vocab_size * config.hidden_size
    inner = num_weights - head
    width = config.num_attention_heads * getattr(config, "head_dim", config.hidden_size // config.num_attention_heads)
    attention = config.num_hidden_layers * 3 * 4 * tokens * width / 2
    return float(4 * (inner * tokens + head * answer) + attention * tokens)


def random_rows(job: dict[str, Any], *, vocab_size: int) -> list[list[Row]]:
    draw = torch.Generator().manual_seed(0)
    ids = torch.randint(10, vocab_size, (job["steps"], job["rows"], job["tokens"]), generator=draw).tolist()
    return [[(tuple(row), job["prompt"]) for row in batch] for batch in ids]


def ours(model: PreTrainedModel, job: dict[str, Any], device: str) -> Callable[[int, list[Row]], float]:
    """`runtime.bf16` on a base in bf16, as a run has it."""
    pack, starter = load_pack("shop"), load_base("starter")
    language = language_model(model, starter.tokenizer, digest="0" * 64, source="random weights")
    policy = Policy(language, rank=job["rank"], alpha=job["alpha"], dropout=0.0, seed=0)
    decoding = DecodingParams(max_new_tokens=8)
    bench = Workbench(
        run="0" * 64,
        policy=policy,
        engine=HfEngine(policy.merged.model, eos_ids=[language.eos_id], max_len=64, slots=1),
        checker=Checker(pack, threshold=0.0),
        vocabulary=pack.vocabulary,
        splits=Splits(),
        decoding=decoding,
        served=decoding,
        parallel=Parallel(device=torch.device(device)),
        discriminator=DiscriminatorStageConfig(),
        bf16=True,
    )
    optimiser = Optimiser(policy.parameters(), learning_rate=job["learning_rate"], weight_decay=0.01)
    return lambda number, batch: ce_step(bench, optimiser, batch, stage="bench", step=number, learning_rate=job["learning_rate"])[0]


def bare(model: PreTrainedModel, job: dict[str, Any], device: str) -> Callable[[int, list[Row]], float]:
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(r=job["rank"], lora_alpha=job["alpha"], lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM")
    peft = get_peft_model(model, config)
    peft.train()
    parameters = [one for one in peft.parameters() if one.requires_grad]
    optimiser = torch.optim.AdamW(parameters, lr=job["learning_rate"], weight_decay=0.01)

    def step(number: int, batch: list[Row]) -> float:
        ids = torch.tensor([row for row, _ in batch], device=device)
        labels = ids.clone()
        labels[:, : job["prompt"]] = -100
        with torch.autocast(device, torch.bfloat16):
            logits = peft(input_ids=ids, use_cache=False).logits
        loss = cross_entropy(logits[:, :-1].flatten(0, 1).float(), labels[:, 1:].flatten())
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        return float(loss.detach())

    return step


if __name__ == "__main__":
    Path(sys.argv[3]).write_text(json.dumps(main(sys.argv[1], json.loads(Path(sys.argv[2]).read_text()))))
