import torch

from common.language.base_model import answer_logprobs
from train_app.stages.adversarial.contrastive import contrastive_loss, margin_loss
from train_app.stages.discriminator.negatives import mismatched


def test_it_raises_a_text_in_its_own_context_and_lowers_it_in_another() -> None:
    here, elsewhere = torch.tensor([-3.0], requires_grad=True), torch.tensor([-3.2], requires_grad=True)
    margin_loss(here, elsewhere, margin=1.0).sum().backward()
    assert float(here.grad) == -1
    assert float(elsewhere.grad) == 1


def test_a_pair_that_is_a_margin_apart_teaches_nothing_more() -> None:
    here, elsewhere = torch.tensor([-3.0], requires_grad=True), torch.tensor([-4.5], requires_grad=True)
    loss = margin_loss(here, elsewhere, margin=1.0).sum()
    loss.backward()
    assert float(loss.detach()) == float(here.grad.abs()) == float(elsewhere.grad.abs()) == 0


def test_steps_on_it_part_right_pairs_from_wrong_ones(bench) -> None:
    examples = bench.splits.train[:6]
    model, parameters = bench.policy.language.model, list(bench.policy.parameters().values())

    def likelihoods() -> tuple[float, float]:
        right, wrong = [], []
        for example in examples:
            other = mismatched(
                example, others=bench.splits.train, vocabulary=bench.vocabulary, seed=bench.seed("t", 0, f"contrast {example.example_id}")
            )
            right.append(bench.encoded(bench.real(example)))
            wrong.append(bench.encoded(bench.real(example, context=other)))
        with torch.no_grad():
            return tuple(
                float(torch.cat(answer_logprobs(model, [ids for ids, _ in rows], prompt_lens=[at for _, at in rows])).sum())
                for rows in (right, wrong)
            )

    right, wrong = likelihoods()
    optimiser = torch.optim.Adam(parameters, lr=1e-2)
    for _ in range(6):
        optimiser.zero_grad()
        contrastive_loss(bench, examples, margin=5.0, stage="t", step=0).backward()
        optimiser.step()
    right_after, wrong_after = likelihoods()
    assert right_after - wrong_after > right - wrong + 1
    assert wrong_after < wrong, "the wrong pairs are less likely than they were"


def test_both_kinds_of_wrong_context_are_drawn(bench) -> None:
    example = bench.splits.train[0]
    drawn = [mismatched(example, others=bench.splits.train, vocabulary=bench.vocabulary, seed=seed) for seed in range(30)]
    same_product = [one for one in drawn if one.product == example.context.product]
    assert same_product
    assert all(one.controls != example.context.controls for one in same_product)
    assert all(one.controls == example.context.controls for one in drawn if one.product != example.context.product)
    assert len(same_product) < len(drawn)
