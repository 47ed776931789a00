import itertools

import pytest
import torch
from transformers import (
    LogitsProcessorList,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from common.domain.decoding import DecodingParams
from common.generation.sampling import pick, plan_rows, processed, sequence_seed, uniforms

NAMED = {"run": "r", "stage": "s", "step": 1, "item": "p1", "codes": {"style": "concise"}, "candidate": 0}
CPU = torch.device("cpu")


def draw(logits: torch.Tensor, decoding: DecodingParams, num: int, seed: int = 0) -> torch.Tensor:
    """`num` tokens from one row of logits, position after position of one seed."""
    plan = plan_rows([decoding] * num, nulls={}, vocab_size=len(logits), device=CPU)
    return pick(logits.expand(num, -1), uniforms([seed], num_positions=num)[0], plan=plan)


def test_a_seed_is_a_fixed_function_of_what_it_names():
    assert sequence_seed(**NAMED) == 0xB9A2D0E5147F6EC3
    assert sequence_seed(**{**NAMED, "codes": {}}) != sequence_seed(**NAMED)


@pytest.mark.parametrize(
    "changed", [{"run": "q"}, {"stage": "t"}, {"step": 2}, {"item": "p2"}, {"codes": {"style": "detailed"}}, {"candidate": 1}]
)
def test_every_part_of_the_name_changes_the_seed(changed):
    assert sequence_seed(**{**NAMED, **changed}) != sequence_seed(**NAMED)


def test_the_order_of_the_codes_does_not_change_the_seed():
    codes = [("topic", "look"), ("style", "concise")]
    assert sequence_seed(**{**NAMED, "codes": dict(codes)}) == sequence_seed(**{**NAMED, "codes": dict(codes[::-1])})


def test_a_uniform_depends_on_its_seed_and_position_alone():
    seeds = [3, 2**64 - 1, 0, 2**63]
    table = uniforms(seeds, num_positions=50)
    assert torch.equal(uniforms(seeds[2:], num_positions=7), table[2:, :7])
    assert table[0, :3].tolist() == [0.8153614054155653, 0.43508930329184636, 0.4008132504742292]


def test_uniforms_are_uniform_and_uncorrelated():
    table = uniforms(list(range(400)), num_positions=250)  # neighbouring seeds are the hard case
    assert float(table.min()) >= 0
    assert float(table.max()) < 1
    counts = torch.histc(table, bins=50, min=0, max=1)
    assert float(((counts - 2000) ** 2 / 2000).sum()) < 85.4  # chi-square, 49 degrees of freedom, p = 0.001
    centred = table - 0.5
    for shifted in (centred[1:] * centred[:-1], centred[:, 1:] * centred[:, :-1], centred[1:, :-1] * centred[:-1, 1:]):
        assert abs(float(shifted.mean() * 12)) < 3.3 / shifted.numel() ** 0.5


@pytest.mark.parametrize(
    "decoding",
    [
        DecodingParams(),
        DecodingParams(temperature=0.7),
        DecodingParams(temperature=1.6, top_k=5),
        DecodingParams(temperature=1.3, top_p=0.8),
        DecodingParams(temperature=1.2, top_k=8, top_p=0.85),
    ],
    ids=str,
)
def test_draws_follow_the_distribution_of_hugging_faces_warpers(decoding):
    logits = torch.randn(12, generator=torch.Generator().manual_seed(4)) * 1.5
    num = 60_000
    warpers = LogitsProcessorList([TemperatureLogitsWarper(decoding.temperature)])
    if decoding.top_k:
        warpers.append(TopKLogitsWarper(decoding.top_k))
    if decoding.top_p < 1:
        warpers.append(TopPLogitsWarper(decoding.top_p))
    expected = warpers(None, logits[None].clone())[0].softmax(-1) * num
    counts = torch.bincount(draw(logits, decoding, num), minlength=12)
    possible = expected > 0
    assert not counts[~possible].any()
    chi_square = float(((counts - expected) ** 2 / expected)[possible].sum())
    assert chi_square < {11: 31.3, 10: 29.6, 9: 27.9, 8: 26.1, 7: 24.3, 6: 22.5, 5: 20.5, 4: 18.5, 3: 16.3}[int(possible.sum()) - 1]


@pytest.mark.parametrize(("top_k", "top_p"), list(itertools.product([0, 1, 7, 200, 500], [1.0, 0.9, 0.2])))
def test_what_filters_keep_is_what_hugging_face_keeps(top_k, top_p):
    """300 tokens, so that a nucleus reaches beyond the first look."""
    logits = torch.randn(4, 300, generator=torch.Generator().manual_seed(top_k)) * torch.tensor([0.1, 0.5, 2.0, 8.0])[:, None]
    warpers = LogitsProcessorList([TopKLogitsWarper(top_k)] if top_k else [])
    if top_p < 1:
        warpers.append(TopPLogitsWarper(top_p))
    kept = warpers(None, logits.clone()) > -torch.inf
    grid = (torch.arange(1500, dtype=torch.float64) + 0.5) / 1500
    for row in range(4):
        plan = plan_rows([DecodingParams(top_k=top_k, top_p=top_p)] * 1500, nulls={}, vocab_size=300, device=CPU)
        drawn = set(pick(logits[row].expand(1500, -1), grid, plan=plan).tolist())
        probable = logits[row].masked_fill(~kept[row], -torch.inf).softmax(-1) > 1 / 1499
        assert drawn <= set(kept[row].nonzero()[:, 0].tolist())
        assert set(probable.nonzero()[:, 0].tolist()) <= drawn


def test_a_row_draws_the_same_whatever_the_others_ask_for():
    logits = torch.randn(6, 50, generator=torch.Generator().manual_seed(1)) * 2
    decodings = [
        DecodingParams(temperature=0),
        DecodingParams(),
        DecodingParams(top_k=5),
        DecodingParams(top_p=0.6),
        DecodingParams(temperature=2, top_k=9, top_p=0.8),
        DecodingParams(temperature=0, top_k=4),
    ]
    table = uniforms(range(6), num_positions=200)
    together = plan_rows(decodings, nulls={}, vocab_size=50, device=CPU)
    alone = [plan_rows([decoding], nulls={}, vocab_size=50, device=CPU) for decoding in decodings]
    for position in range(200):
        expected = [int(pick(logits[i : i + 1], table[i : i + 1, position], plan=alone[i])) for i in range(6)]
        assert pick(logits, table[:, position], plan=together).tolist() == expected


def test_rounding_of_the_logits_changes_no_draw():
    logits = torch.randn(5000, 300, generator=torch.Generator().manual_seed(2)) * 2
    noise = 1e-6 * torch.randn(5000, 300, generator=torch.Generator().manual_seed(3))
    for decoding in (DecodingParams(), DecodingParams(temperature=0.9, top_k=50, top_p=0.95)):
        plan = plan_rows([decoding] * 5000, nulls={}, vocab_size=300, device=CPU)
        points = uniforms([7], num_positions=5000)[0]
        assert int((pick(logits, points, plan=plan) != pick(logits + noise, points, plan=plan)).sum()) <= 1


@pytest.mark.parametrize("vocab_size", [5, 97, 128, 5400])
def test_summing_by_stretches_draws_what_a_plain_sum_draws(vocab_size):
    logits = torch.randn(500, vocab_size, generator=torch.Generator().manual_seed(5)) * 3
    points = uniforms([9], num_positions=500)[0]
    ends = torch.softmax(logits.double(), -1).cumsum(-1)
    plain = torch.searchsorted(ends, points[:, None] * ends[:, -1:], right=True)[:, 0]
    drawn = pick(logits, points, plan=plan_rows([DecodingParams()] * 500, nulls={}, vocab_size=vocab_size, device=CPU))
    assert int((drawn != plain).sum()) <= 1


def test_the_ends_of_the_unit_interval_draw_possible_tokens():
    logits = torch.tensor([[-torch.inf, 0.0, -torch.inf, 1.0, -torch.inf]] * 2)
    plan = plan_rows([DecodingParams()] * 2, nulls={}, vocab_size=5, device=CPU)
    assert pick(logits, torch.tensor([0.0, 1 - 2.0**-48], dtype=torch.float64), plan=plan).tolist() == [1, 3]


def test_processors_leave_the_models_own_logits_alone():
    raw = torch.randn(2, 9)
    before = raw.clone()
    decoding = DecodingParams(repetition_penalty=1.5, min_new_tokens=3, guidance=2)
    plan = plan_rows([decoding] * 2, nulls={0: 1}, vocab_size=9, device=CPU)
    seen = torch.zeros(2, 9, dtype=torch.bool)
    out = processed(raw, plan, seen_BV=seen, counts_B=torch.tensor([0, 0]), eos_E=torch.tensor([8]))
    assert torch.equal(raw, before)
    assert bool(out[:, 8].isinf().all())
    torch.testing.assert_close(out[0, :8], (2 * raw[0] - raw[1])[:8])
