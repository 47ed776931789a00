"""Our supervised step without our loop: `python -m cluster.bench.train.peers.tight JOB OUT`. What the loop around the step costs.

The same adapters, attention, loss on answers alone and AdamW; batches are tensors before the first step, and a step is a forward pass, a
backward pass, a clip and an update: no plan of an epoch, no seeds, no sums over workers, no guards, no progress.
"""

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from common.language.base_model import ANSWERS_PADDED_TO, backbone, head_logits, load_base
from common.language.packing import PADDED_TO
from train_app.stages.policy import Policy


def main(job: dict[str, Any]) -> dict[str, Any]:
    torch.set_num_threads(job["threads"])
    language = load_base(job["base"], dtype="float32")
    policy = Policy(language, rank=job["rank"], alpha=job["alpha"], dropout=0.0, seed=0)
    model = policy.language.model
    model.set_attn_implementation("eager")
    policy.train(True)
    parameters = list(policy.parameters().values())
    optimiser = torch.optim.AdamW(parameters, lr=job["learning_rate"], weight_decay=job["weight_decay"])
    prepared = [tensors(batch) for batch in job["batches"]]
    losses, times = [], []
    for ids_BT, mask_BT, places_N, target_N in prepared:
        began = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=job["bf16"]):
            hidden_BTD = backbone(model)(input_ids=ids_BT, attention_mask=mask_BT, use_cache=False).last_hidden_state
            logits_NV = head_logits(model, hidden_BTD.flatten(0, 1)[places_N])
        loss = cross_entropy(logits_NV.float(), target_N)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        losses.append(float(loss.detach()))
        times.append(time.perf_counter() - began)
    return {"losses": losses, "step_s": times, "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def tensors(batch: list[tuple[list[int], int]]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Ids and mask of a padded batch, the places (of all rows, end to end) that predict an answer token, and those tokens; lengths are
    rounded up as in `common.language.base_model`, with places whose target is left out of the loss."""
    longest = -(-max(len(ids) for ids, _ in batch) // PADDED_TO) * PADDED_TO
    ids_BT = torch.zeros(len(batch), longest, dtype=torch.long)
    mask_BT = torch.zeros_like(ids_BT)
    places: list[int] = []
    targets: list[int] = []
    for row, (ids, start) in enumerate(batch):
        ids_BT[row, : len(ids)] = torch.tensor(ids)
        mask_BT[row, : len(ids)] = 1
        places += range(row * longest + start - 1, row * longest + len(ids) - 1)
        targets += ids[start:]
    spare = -len(places) % ANSWERS_PADDED_TO
    return ids_BT, mask_BT, torch.tensor(places + [0] * spare), torch.tensor(targets + [-100] * spare)


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(json.dumps(main(json.loads(Path(sys.argv[1]).read_text()))))
