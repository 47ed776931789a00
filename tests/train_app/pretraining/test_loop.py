"""The pretraining loop packs whole documents, learns only what is asked, and measures copying on texts it can check."""

import torch

from train_app.pretraining.loop import Encoded, PretrainingConfig, measure, new_model, rows, train

CONFIG = PretrainingConfig(
    hidden_size=32,
    num_layers=2,
    num_heads=2,
    num_kv_heads=1,
    intermediate_size=48,
    row_len=64,
    batch_rows=4,
    learning_rate=5e-3,
    blocks_share=0.0,
)
END_ID = 0


def copying(seed: int, num: int) -> list[Encoded]:
    """Three ids, a mark, and the first two of the three again."""
    generator = torch.Generator().manual_seed(seed)
    keys = torch.randint(2, 12, (num, 3), generator=generator).tolist()
    return [Encoded(ids=(*key, 1, *key[:2], END_ID), given=4, copied=((4, 6),)) for key in keys]


def test_rows_hold_whole_documents_and_predict_their_text_only() -> None:
    batches = list(rows(copying(1, 200), config=CONFIG, end_id=END_ID, seed=1))
    assert batches
    for ids_BT, predicted_BT in batches:
        assert ids_BT.shape == predicted_BT.shape == (4, 64)
        for ids, predicted in zip(ids_BT.tolist(), predicted_BT.tolist(), strict=True):
            documents = [(ids[i : i + 7], predicted[i : i + 7]) for i in range(0, 63, 7) if any(ids[i : i + 7])]
            assert len(documents) == 9
            assert all(document[3] == 1 and mask == [False] * 4 + [True] * 3 for document, mask in documents)


def test_a_document_longer_than_a_row_is_left_out() -> None:
    long = [Encoded(ids=(5,) * 65, given=1)] * 100
    assert not list(rows(long, config=CONFIG, end_id=END_ID, seed=1))


def test_the_same_seed_and_steps_give_the_same_weights_and_a_falling_loss() -> None:
    trained, losses = [], []
    for _ in range(2):
        model = new_model(CONFIG, vocab_size=12, end_id=END_ID, seed=3)
        seen: list[float] = []
        batches = rows(copying(2, 40 * 36), config=CONFIG, end_id=END_ID, seed=2)
        made = train(
            model, batches, config=CONFIG, progress=lambda step: step / 30, on_step=lambda _step, loss, _n, seen=seen: seen.append(loss)
        )
        assert made == 30
        trained.append(model.state_dict())
        losses.append(seen)
    assert losses[0] == losses[1]
    assert all(torch.equal(trained[0][name], trained[1][name]) for name in trained[0])
    assert sum(losses[0][-5:]) < 0.9 * sum(losses[0][:5])


def test_copy_accuracy_counts_values_of_which_every_token_is_the_likeliest() -> None:
    model = new_model(CONFIG, vocab_size=12, end_id=END_ID, seed=3)
    documents = copying(9, 40)
    report = measure(model, documents, end_id=END_ID)
    hits = 0
    for document in documents:
        with torch.no_grad():
            likeliest = model(torch.tensor([document.ids])).logits[0].argmax(-1).tolist()
        hits += likeliest[3:5] == list(document.ids[4:6])
    assert report.copy_accuracy == hits / 40
    assert report.perplexity > 1
