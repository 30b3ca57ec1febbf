"""The Learn tab: the papers' formulas, each filled with the numbers of the settings and computed by the model."""

from ddim_app.ui.learn.tab import LearnTab

__all__ = ["LearnTab"]
