"""Hypothesis strategies for recipes: every field of every arm."""

from dataclasses import replace

from hypothesis import strategies as st

from ddim_app.diffusion.batch_sizes import BUCKETS
from ddim_app.diffusion.formulas import CLIP_RULES
from ddim_app.diffusion.sampler import VARIANCES
from ddim_app.diffusion.schedule import SPACINGS
from ddim_app.runs import base, sampling
from ddim_app.runs.sampling import Arm, Recipe

seeds = st.integers(0, 2**32 - 1)
names = st.text("abc/-_.,:;~%&=+?#\"'<>{}$\\ é🌫", min_size=1, max_size=20).filter(str.strip)
hashes = st.none() | st.text("0123456789abcdef", min_size=64, max_size=64)
arms = st.builds(
    Arm, method=st.sampled_from(tuple(sampling.METHODS)), steps=st.integers(1, 1000), spacing=st.sampled_from(SPACINGS),
    timesteps=st.none() | st.lists(st.integers(0, 999), max_size=5, unique=True).map(tuple),
    eta=st.floats(0, 2), variance=st.sampled_from(VARIANCES), clip=st.sampled_from(CLIP_RULES), model=st.none() | names,
    seed=st.none() | seeds, noise_seed=st.none() | seeds, branch=st.none() | seeds, weights=hashes,
)  # fmt: skip


@st.composite
def started(draw: st.DrawFn) -> tuple[Arm, ...]:
    """Arms, some of which begin in the middle of an earlier one."""
    made = draw(st.lists(arms, min_size=1, max_size=5))
    for i in range(1, len(made)):
        if draw(st.booleans()):
            made[i] = replace(made[i], start_arm=draw(st.integers(0, i - 1)), start_step=draw(st.integers(0, 999)))
    return tuple(made)


recipes = st.builds(
    Recipe, arms=started(), model=names, seed=seeds, pictures=st.integers(1, 16),
    noise_seed=st.none() | seeds, branch=seeds, precision=st.sampled_from(base.PRECISIONS),
    bucket=st.none() | st.sampled_from(BUCKETS), weights=hashes,
)  # fmt: skip
