"""Draws a run's metrics over its steps as SVG. Knows which figures a person looks at first; computes none."""

import io
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# What is drawn together in one small plot, in this order; a metric in no group is drawn alone after them.
GROUPS = {
    "cross-entropy (nats a token)": ("loss", "validation_loss", "ce_loss"),
    "discriminator loss": ("discriminator_loss",),
    "discriminator accuracy": ("accuracy", "accuracy_average", "reads_samples"),
    "real above its counterpart (share of pairs)": ("ordered_samples", "ordered_wrong", "auc_average"),
    "mean D(fake)": ("taken_for_real",),
    "AUC": ("auc_fake", "auc_perturbed", "auc_mismatched", "auc_wrong"),
    "share of samples that pass the checks": ("checks_passed", "kept_share"),
    "KL to SFT (nats a token)": ("kl",),
    "policy entropy (nats a token)": ("entropy",),
    "diversity": ("unique", "distinct_2", "distinct_average"),
}
WIDTH_IN, HEIGHT_IN, COLUMNS = 4.2, 2.4, 3


def curves(series: Mapping[str, Sequence[tuple[int, float]]]) -> str:
    """One SVG with a small plot per group; a metric with fewer than two points is left to the tables. Empty text when nothing is drawn."""
    drawn = {name: points for name, points in series.items() if len(points) > 1}
    panels = [(title, [name for name in names if name in drawn]) for title, names in GROUPS.items()]
    grouped = {name for names in GROUPS.values() for name in names}
    panels += [(name, [name]) for name in drawn if name not in grouped]
    panels = [(title, names) for title, names in panels if names]
    if not panels:
        return ""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    rows = -(-len(panels) // COLUMNS)
    with mpl.rc_context({"svg.hashsalt": "liyou", "svg.fonttype": "none", "font.size": 8}):
        figure = Figure(figsize=(WIDTH_IN * COLUMNS, HEIGHT_IN * rows), layout="constrained")
        axes = figure.subplots(rows, COLUMNS, squeeze=False).ravel()
        for axis, (title, names) in zip(axes, panels, strict=False):
            for name in names:
                steps, values = zip(*drawn[name], strict=True)
                axis.plot(steps, values, label=name, linewidth=1.2)
            axis.set_title(title)
            axis.grid(alpha=0.3)
            if len(names) > 1:
                axis.legend(frameon=False)
        for axis in axes[len(panels) :]:
            axis.set_visible(False)
        return _svg(figure)


def drawn(draw: Callable[["Axes"], object], *, width_in: float, height_in: float = 3.6) -> str:
    """One plot as SVG, the same bytes for the same figures."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context({"svg.hashsalt": "liyou", "svg.fonttype": "none", "font.size": 9}):
        figure = Figure(figsize=(width_in, height_in), layout="constrained")
        draw(figure.subplots())
        return _svg(figure)


def _svg(figure: "Figure") -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    svg = buffer.getvalue()
    return svg[svg.index("<svg") :]
