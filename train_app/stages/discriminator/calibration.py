"""Makes the score mean what it says for the generator that ships: temperature, offset and threshold from rows that nothing has seen."""

from common.metrics.calibration import auc, expected_calibration_error
from common.quality.threshold import fit_platt, probability, quantile_threshold
from train_app.config import CalibrationConfig
from train_app.stages.discriminator.training import GROUP, exhibits, log_real_of, logits_of, weights_of
from train_app.stages.state import OnProgress, Progress, Save, State
from train_app.stages.workbench import Workbench, written

STAGE = "calibration"


def calibrate(
    state: State,
    config: CalibrationConfig,
    on_progress: OnProgress,
    *,
    bench: Workbench,
    save: Save,
) -> State:
    """Sets the discriminator's temperature and offset and the values `threshold` and `calibration`.

    The score is fitted to real texts against the same texts made wrong (one fact, another context or code): whether one of the generator's
    samples is right nobody knows here. The threshold is a quantile of real texts.
    """
    state = state.enter(STAGE)
    bench.load(state.group("policy"))
    discriminator = bench.new_discriminator()
    discriminator.load_state_dict(state.group(GROUP))
    discriminator.eval()
    examples = bench.splits.calibration[: config.rows]
    mine = bench.parallel.mine([example.context for example in examples])
    groups = bench.write(mine, k=1, stage=STAGE, step=0, decoding=bench.served)
    rows = bench.parallel.gather_rows([list(written(group[0])) for group in groups])
    shown = exhibits(bench, examples, [(index, [tuple(ids)]) for index, ids in enumerate(rows)])
    real, fake = [one.real for one in shown], [fake for one in shown for fake in one.fakes]
    wrong = [text for one in shown for text in (one.perturbed, one.mismatched) if text is not None]
    raw_real, raw_wrong = log_real_of(discriminator, real), log_real_of(discriminator, wrong)
    outcomes = [True] * len(real) + [False] * len(wrong)
    temperature, offset = fit_platt(raw_real + raw_wrong, outcomes)
    discriminator.temperature.fill_(temperature)
    discriminator.offset.fill_(offset)
    temperature, offset = float(discriminator.temperature), float(discriminator.offset)  # as float32 keeps them: scores use these numbers
    scores = probability(raw_real + raw_wrong, temperature=temperature, offset=offset).tolist()
    threshold = quantile_threshold(scores[: len(real)], q=config.accept_quantile)
    on_fakes = probability(log_real_of(discriminator, fake), temperature=temperature, offset=offset)
    figures = {
        "temperature": temperature,
        "offset": offset,
        "threshold": threshold,
        "ece": expected_calibration_error(scores, outcomes),
        "auc_wrong": auc(scores[: len(real)], scores[len(real) :]),
        "auc_fake": auc(logits_of(discriminator, real), logits_of(discriminator, fake)),
        "samples_accepted": float((on_fakes >= threshold).mean()),
    }
    on_progress(Progress(stage=STAGE, step=1, total=1, metrics=figures))
    return state.with_group(GROUP, weights_of(discriminator)).with_values({"threshold": threshold, "calibration": dict(figures)}).at(1)
