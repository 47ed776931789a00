"""Makes the score mean what it says for the generator that ships: temperature and threshold from rows that nothing has seen."""

from common.metrics.calibration import auc, expected_calibration_error
from common.quality.threshold import fit_temperature, probability, quantile_threshold
from train_app.config import CalibrationConfig
from train_app.stages.discriminator.training import GROUP, Judged, logits_of, weights_of
from train_app.stages.state import OnProgress, Progress, Save, State
from train_app.stages.workbench import Answer, Workbench, written

STAGE = "calibration"


def calibrate(
    state: State,
    config: CalibrationConfig,
    on_progress: OnProgress,
    *,
    bench: Workbench,
    save: Save,
) -> State:
    """Sets the discriminator's temperature and the values `threshold` and `calibration` from real texts and as many samples."""
    state = state.enter(STAGE)
    bench.load(state.group("policy"))
    discriminator = bench.new_discriminator()
    discriminator.load_state_dict(state.group(GROUP))
    discriminator.eval()
    examples = bench.splits.calibration[: config.rows]
    mine = bench.parallel.mine([example.context for example in examples])
    groups = bench.write(mine, k=1, stage=STAGE, step=0)
    rows = bench.parallel.gather_rows([list(written(group[0])) for group in groups])
    real = [bench.real(example) for example in examples]
    fake = [Answer(example.context, tuple(ids)) for example, ids in zip(examples, rows, strict=True)]
    logits = logits_of(
        discriminator, [Judged(f, a.context.controls) for f, a in zip(bench.features(real + fake), real + fake, strict=True)]
    )
    outcomes = [True] * len(real) + [False] * len(fake)
    discriminator.temperature.fill_(fit_temperature(logits, outcomes))
    temperature = float(discriminator.temperature)  # as float32 keeps it: the score is divided by this very number
    scores = probability(logits, temperature=temperature).tolist()
    threshold = quantile_threshold(scores[: len(real)], q=config.accept_quantile)
    figures = {
        "temperature": temperature,
        "threshold": threshold,
        "ece": expected_calibration_error(scores, outcomes),
        "auc": auc(scores[: len(real)], scores[len(real) :]),
        "samples_accepted": sum(score >= threshold for score in scores[len(real) :]) / max(1, len(fake)),
    }
    on_progress(Progress(stage=STAGE, step=1, total=1, metrics=figures))
    return state.with_group(GROUP, weights_of(discriminator)).with_values({"threshold": threshold, "calibration": dict(figures)}).at(1)
