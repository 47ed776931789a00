from train_app.stages.pool import collect, pooled
from train_app.stages.state import State


def test_samples_are_kept_with_the_example_they_were_drawn_for_in_the_examples_order(bench) -> None:
    examples = bench.splits.validation
    state = collect(State(bench.run), examples, lambda progress: None, stage="samples", k=2, bench=bench, save=lambda kept: None)
    assert [index for index, _ in pooled(state)] == [index for index in range(len(examples)) for _ in range(2)]
    assert all(ids for _, ids in pooled(state))


def test_what_is_not_chosen_is_not_kept(bench) -> None:
    def none_for_the_first(context, candidates):
        return {} if context == bench.splits.validation[0].context else {"pool": [candidates[1]]}

    state = collect(
        State(bench.run),
        bench.splits.validation[:3],
        lambda progress: None,
        stage="samples",
        k=2,
        bench=bench,
        save=lambda kept: None,
        choose=none_for_the_first,
    )
    assert [index for index, _ in pooled(state)] == [1, 2]


def test_the_same_stage_draws_the_same_and_another_stage_draws_anew(bench) -> None:
    def drawn(stage: str):
        state = collect(
            State(bench.run), bench.splits.validation, lambda progress: None, stage=stage, k=1, bench=bench, save=lambda kept: None
        )
        return pooled(state)

    assert drawn("one") == drawn("one") != drawn("two")
