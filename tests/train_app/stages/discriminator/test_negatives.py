from train_app.stages.discriminator.negatives import mismatched, perturbed


def claims_of(bench, example):
    return bench.checker.judge(example.text, context=example.context, score=None).claims


def test_a_perturbed_text_states_one_fact_of_another_product_and_fails_the_facts_check(bench) -> None:
    others = [example.context.product for example in bench.splits.train]
    failed = 0
    for example in bench.splits.discriminator:
        text = perturbed(example, claims=claims_of(bench, example), others=others, seed=4)
        assert text is not None
        assert text != example.text
        failed += not bench.checker.judge(text, context=example.context, score=None).checks["facts"].passed
    assert failed >= 0.9 * len(bench.splits.discriminator), "brands that the pack does not know go unnoticed, numbers do not"


def test_a_text_without_claims_cannot_be_perturbed(bench) -> None:
    example = bench.splits.train[0]
    assert perturbed(example, claims=(), others=[one.context.product for one in bench.splits.train], seed=1) is None


def test_a_mismatched_context_differs_in_a_code_or_is_another_products(bench) -> None:
    kinds = set()
    for example in bench.splits.discriminator:
        context = mismatched(example, others=bench.splits.train, vocabulary=bench.vocabulary, seed=int(example.example_id[13:] or 0))
        assert context != example.context
        kinds.add(context.product == example.context.product)
    assert kinds == {True, False}
    assert all(context is not None for context in [mismatched(bench.splits.train[0], others=[], vocabulary=bench.vocabulary, seed=1)])


def test_negatives_are_a_function_of_their_seed(bench) -> None:
    example, others = bench.splits.train[0], bench.splits.train
    products = [one.context.product for one in others]
    assert perturbed(example, claims=claims_of(bench, example), others=products, seed=7) == perturbed(
        example, claims=claims_of(bench, example), others=products, seed=7
    )
    assert mismatched(example, others=others, vocabulary=bench.vocabulary, seed=7) == mismatched(
        example, others=others, vocabulary=bench.vocabulary, seed=7
    )
