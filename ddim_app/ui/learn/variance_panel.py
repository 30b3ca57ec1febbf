"""The two fixed variances as bounds of the true one, and what the model's own analytic one is between them."""

from typing import Any

from ddim_app.diffusion import elbo
from ddim_app.ui.fields import dial
from ddim_app.ui.learn import figures
from ddim_app.ui.learn.panel import LessonScene, Panel


class VariancePanel(Panel):
    """The truth between the two, over t."""

    name, needs_model = "variance", False
    talks_of = ""
    fields = ("s", "variance t")

    def __init__(self) -> None:
        self.s = dial("Spread of the data s", "variance-s", 0.3, (0, 1), 0.05, "0: one picture; 1: noise itself")
        self.t = dial("Timestep t", "variance-t", 10, (1, 60), 1, "the one in the text; the chart has the first 60")
        self.formula = figures.formula(elem_id="variance-formula")
        self.chart = figures.chart("variance-chart")
        self.inputs, self.outputs = [self.s, self.t], [self.formula, self.chart]

    def show(self, scene: LessonScene, *values: Any) -> list[Any]:
        s, t, schedule = figures.share("s", values[0]), max(1, scene.t(values[1])), scene.schedule
        table = elbo.variances(schedule)

        def true(t: int) -> float:
            return elbo.true_reverse_variance(schedule.level(t).alpha_bar, schedule.level(t - 1).alpha_bar, s)

        small, large = (float(table[name][t]) for name in ("small", "large"))
        share = figures.number(100 * (true(t) - small) / (large - small), 3)
        text = figures.filled(figures.words("variance"), s=s, t=t, small=small, large=large, true=true(t), share=share)
        points = range(1, min(61, schedule.num_train_timesteps))
        lines = {
            "true": [(t, true(t) / float(table["large"][t])) for t in points],
            "small, β̃": [(t, float(table["small"][t] / table["large"][t])) for t in points],
            "large, β": [(t, 1.0) for t in points],
        }
        residuals = scene.model.residuals if scene.model else ()
        if residuals:
            analytic = elbo.analytic(schedule, residuals)
            lines["analytic, this model"] = [(t, float(analytic[t] / table["large"][t])) for t in points]
            text += figures.filled(figures.words("analytic"), t=t, residual=residuals[t], analytic=float(analytic[t]))
        return [text, figures.plotted("Reverse variance, in units of β", "t", lines, floor=0)]
