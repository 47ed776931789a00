"""The page a person reads after a run."""

from common.bundle.manifest import Metric, Risk
from common.metrics.intervals import Interval
from train_app.evaluation.evaluate import Evaluation, Sample
from train_app.evaluation.report.render import facts_of, render
from train_app.stages.state import Progress, TextPair

STORY = [
    *(Progress(stage="sft", step=step, total=3, metrics={"loss": 3.0 / step}) for step in (1, 2, 3)),
    Progress(stage="sft", step=3, total=3, metrics={"loss": 0.5}, note="early stop"),
    Progress(
        stage="adversarial 1", step=1, total=1, metrics={"kl": 0.1}, texts=(TextPair(product="杯", real="好杯", generated="<b>杯</b>"),)
    ),
]
SAMPLE = Sample(
    example_id="e1", product="杯", controls={"style": "concise"}, reference="好杯", answer="<script>", source="model", score=0.5,
    candidates=("<script>",), findings=(),
)  # fmt: skip
EVALUATION = Evaluation(num_requests=1, k=4, measures={"sample.checks": Interval(value=0.7, low=0.6, high=0.8, n=10)}, samples=(SAMPLE,))


def test_a_run_is_told_with_curves_texts_and_intervals() -> None:
    page = render(STORY, title="run", facts={"bundle": "lb-1"}, evaluation=EVALUATION)
    assert page.count("<svg") == 1, "one stage has more than one point"
    assert "early stop" in page
    assert "0.600 – 0.800" in page


def test_what_a_model_wrote_cannot_run_in_the_page() -> None:
    page = render(STORY, title="run", facts={}, evaluation=EVALUATION)
    assert "<script>" not in page
    assert "&lt;b&gt;杯" in page


def test_a_repeated_step_counts_once_as_it_ended() -> None:
    page = render(STORY, title="run", facts={}, evaluation=None)
    assert "loss 0.5" in page


def test_the_same_story_is_the_same_page() -> None:
    assert render(STORY, title="run", facts={}, evaluation=EVALUATION) == render(STORY, title="run", facts={}, evaluation=EVALUATION)


def test_what_a_threshold_promises_and_whether_it_was_kept_stand_on_the_page() -> None:
    asked = {"labels": "evaluator", "alpha": 0.1, "delta": 0.1, "min_acceptance": 0.3}
    tested = {"num_requests": 1000, "num_accepted": 700, "num_bad": 50, "bound": 0.0861}
    realised = Metric(value=0.08, low=0.06, high=0.11, num=400, better="lower")
    kept = Risk(rule="learn_then_test", controlled=True, threshold=0.62, realised=realised, **asked, **tested)
    page = render(STORY, title="run", facts=facts_of(kept, threshold=0.62), evaluation=None)
    assert "0.6200 by learn then test" in page
    assert "50 bad of 700 accepted of 1000 requests (70.0%)" in page
    assert "0.0800 [0.0600, 0.1100], 400 accepted answers" in page
    told = facts_of(Risk(why="too few calibration requests", **asked), threshold=0.1)
    assert told["risk"].startswith("not controlled: too few calibration requests")
