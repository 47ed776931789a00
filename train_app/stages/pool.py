"""Samples of the current generator in numbers: drawn in chunks, each a step of its stage, kept as token ids."""

from collections.abc import Callable, Mapping, Sequence

from common.domain.context import Context
from common.generation.candidates import Candidate
from train_app.data.examples import Example
from train_app.stages.state import OnProgress, Progress, Save, State, TextPair, pack_rows, unpack_rows
from train_app.stages.workbench import Workbench, written

GROUP = "pool"
CHUNK = 64
"""Contexts in a step: long enough to fill the engine's slots, short enough to lose."""

Choose = Callable[[Context, Sequence[Candidate]], Mapping[str, Sequence[Candidate]]]
"""Which of a context's candidates are kept: pool -> candidates. A pool that is left out keeps none of them."""


def keep_all(context: Context, candidates: Sequence[Candidate]) -> Mapping[str, Sequence[Candidate]]:
    return {GROUP: candidates}


def num_chunks(num_contexts: int) -> int:
    """Steps of a stage that draws for so many contexts."""
    return -(-num_contexts // CHUNK)


def collect(
    state: State,
    examples: Sequence[Example],
    on_progress: OnProgress,
    *,
    stage: str,
    k: int,
    bench: Workbench,
    save: Save,
    choose: Choose = keep_all,
    pools: Sequence[str] = (GROUP,),
) -> State:
    """Groups `pools`: rows [index of the example, ids …] of what `choose` keeps there of k samples for each example, in the examples'
    order. Progress tells of the first pool."""
    state = state.enter(stage)
    if state.step == 0:
        state = state.without_groups(*state.groups(GROUP))
    rows = {name: unpack_rows(state.group(name)) for name in pools}

    def kept_at(step: int) -> State:
        done = state.at(step)
        for name in pools:
            done = done.with_group(name, pack_rows(rows[name]))
        return done

    chunks = [list(range(start, min(start + CHUNK, len(examples)))) for start in range(0, len(examples), CHUNK)]
    every = max(1, bench.checkpoint_every // 4)
    for step in range(state.step, len(chunks)):
        mine = bench.parallel.mine(chunks[step])
        groups = bench.write([examples[index].context for index in mine], k=k, stage=stage, step=step)
        kept = [choose(examples[index].context, group) for index, group in zip(mine, groups, strict=True)]
        for name in pools:
            gathered = bench.parallel.gather_groups([[written(one) for one in pool.get(name, ())] for pool in kept])
            rows[name] += [[index, *ids] for index, texts in zip(chunks[step], gathered, strict=True) for ids in texts]
        shown = [
            TextPair(product=examples[i].context.product.title, real=examples[i].text, generated=texts[0].text)
            for i, pool in zip(mine, kept, strict=True)
            if (texts := pool.get(pools[0]))
        ]
        many = len(rows[pools[0]])
        metrics = {"kept": float(many), "kept_per_context": many / (chunks[step][-1] + 1)}
        on_progress(Progress(stage=stage, step=step + 1, total=len(chunks), metrics=metrics, texts=tuple(shown[:2])))
        if (step + 1) % every == 0 and step + 1 < len(chunks):
            save(kept_at(step + 1))
    return kept_at(len(chunks))


def pooled(state: State, name: str = GROUP) -> list[tuple[int, tuple[int, ...]]]:
    """(index of the example, ids) of every text in the pool."""
    return [(row[0], tuple(row[1:])) for row in unpack_rows(state.group(name))]
