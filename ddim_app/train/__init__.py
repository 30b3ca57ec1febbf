"""Training and fine-tuning on a folder of pictures; the command line is `python -m ddim_app.train`.

Whatever is random is a function of (seed, step, index in the global batch), so a run that is stopped at any moment goes on
as if it had not been. The loss uses the samplers' own `add_noise` and `Schedule`; the result is a model folder.
"""
