from copy import deepcopy

import torch
from torch import nn

from common.language.bottleneck import PROJECTIONS, Bottleneck, insert_bottlenecks


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.ModuleDict({"mlp": nn.ModuleDict({"up_proj": nn.Linear(4, 6), "down_proj": nn.Linear(6, 4)}), "o_proj": nn.Linear(4, 4)})


def test_it_adds_up_relu_down_of_what_the_layer_gives() -> None:
    adapter = Bottleneck(2, 1)
    with torch.no_grad():
        for name, value in {"down": [[2.0, 1.0]], "down_bias": [-3.0], "up": [[1.0], [10.0]], "up_bias": [0.5, 0.0]}.items():
            getattr(adapter, name).copy_(torch.tensor(value))
    assert adapter(torch.tensor([[1.0, 4.0], [0.0, 0.0]])).tolist() == [[4.5, 34.0], [0.5, 0.0]]


def test_a_new_one_changes_nothing_and_learns() -> None:
    adapter, hidden = Bottleneck(4, 2), torch.randn(3, 4)
    assert torch.equal(adapter(hidden), hidden)
    adapter(hidden).sum().backward()
    assert adapter.up.grad.abs().max() > 0


def test_pfeiffer_stands_behind_the_feed_forward_part_and_houlsby_behind_attention_too() -> None:
    assert list(insert_bottlenecks(model(), targets=PROJECTIONS["pfeiffer"], size=2)) == ["mlp.down_proj"]
    assert list(insert_bottlenecks(model(), targets=PROJECTIONS["houlsby"], size=2)) == ["mlp.down_proj", "o_proj"]


@torch.no_grad()
def test_layers_keep_their_names_and_copies_their_own_adapters() -> None:
    base = model()
    names = set(base.state_dict())
    adapter = insert_bottlenecks(base, targets=("down_proj",), size=2)["mlp.down_proj"]
    assert set(base.state_dict()) - names == {f"mlp.down_proj.bottleneck.{part}" for part in ("down", "down_bias", "up", "up_bias")}
    copy, given = deepcopy(base), torch.randn(3, 6)
    said = base["mlp"]["down_proj"](given)
    adapter.up_bias.fill_(1.0)
    assert torch.equal(base["mlp"]["down_proj"](given), said + 1)
    assert torch.equal(copy["mlp"]["down_proj"](given), said)


def test_half_precision_goes_in_and_comes_out() -> None:
    adapter = Bottleneck(4, 2)
    assert adapter(torch.randn(3, 4).bfloat16()).dtype == torch.bfloat16
