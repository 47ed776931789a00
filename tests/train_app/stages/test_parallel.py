"""Two processes share one batch: what they make of it is what one makes of it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from train_app.stages.optimisation import Optimiser
from train_app.stages.parallel import Parallel

WORKER = """
import json, sys
import torch, torch.distributed as dist
from torch import nn
from train_app.stages.optimisation import Optimiser
from train_app.stages.parallel import Parallel

rank, world, store = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
torch.set_num_threads(1)
if world > 1:
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=world)
parallel = Parallel(rank, world)
torch.manual_seed(0)
layer = nn.Linear(3, 1)
data = torch.randn(5, 3)
optimiser = Optimiser(dict(layer.named_parameters()), learning_rate=0.1)
for _ in range(10):
    optimiser.zero()
    loss = sum((layer(data[row]) ** 2).sum() for row in parallel.mine(range(5))) / 5
    loss.backward()
    optimiser.step(parallel)
rows = parallel.gather_rows([[row, *range(row)] for row in parallel.mine(range(5))])
groups = parallel.gather_groups([[[row, number] for number in range(1 + row % 3)] for row in parallel.mine(range(5))])
print(json.dumps({"weight": layer.weight.flatten().tolist(), "rows": rows, "groups": groups, "sum": parallel.sum([1.0, rank])}))
if world > 1:
    dist.destroy_process_group()
"""


def workers(world: int, store: Path) -> list[dict[str, object]]:
    command = [sys.executable, "-W", "ignore", "-c", WORKER]
    started = [
        subprocess.Popen([*command, str(rank), str(world), str(store)], stdout=subprocess.PIPE, cwd=Path(__file__).resolve().parents[3])
        for rank in range(world)
    ]
    return [json.loads(process.communicate(timeout=120)[0].splitlines()[-1]) for process in started]


@pytest.fixture(scope="module")
def pair(tmp_path_factory) -> list[dict[str, object]]:
    return workers(2, tmp_path_factory.mktemp("store") / "file")


def test_two_workers_take_the_steps_of_one_and_stay_equal(pair, tmp_path) -> None:
    (alone,) = workers(1, tmp_path / "none")
    assert pair[0]["weight"] == pair[1]["weight"]
    assert pair[0]["weight"] == pytest.approx(alone["weight"], abs=1e-5)


def test_gathered_rows_stand_in_the_items_order_on_every_worker(pair) -> None:
    assert pair[0]["rows"] == pair[1]["rows"] == [[row, *range(row)] for row in range(5)]
    assert pair[0]["sum"] == pair[1]["sum"] == [2, 1]


def test_several_rows_of_an_item_stay_together_however_the_items_are_shared_out(pair) -> None:
    assert pair[0]["groups"] == pair[1]["groups"] == [[[row, number] for number in range(1 + row % 3)] for row in range(5)]


def test_every_item_belongs_to_one_worker() -> None:
    shares = [Parallel(rank, 3).mine(range(7)) for rank in range(3)]
    assert sorted(item for share in shares for item in share) == list(range(7))


def test_an_optimiser_rebuilt_from_its_tensors_takes_the_same_next_step() -> None:
    def stepped(layer, optimiser) -> torch.Tensor:
        optimiser.zero()
        layer(torch.ones(2)).sum().backward()
        optimiser.step(Parallel())
        return layer.weight.detach().clone()

    torch.manual_seed(0)
    layer = nn.Linear(2, 1)
    optimiser = Optimiser(dict(layer.named_parameters()), learning_rate=0.1)
    stepped(layer, optimiser)
    copy = nn.Linear(2, 1)
    copy.load_state_dict(layer.state_dict())
    again = Optimiser(dict(copy.named_parameters()), learning_rate=0.1, saved={n: t.clone() for n, t in optimiser.tensors().items()})
    assert torch.equal(stepped(layer, optimiser), stepped(copy, again))
