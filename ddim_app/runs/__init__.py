"""What can be run. Each kind of run has a recipe, which judges its own values (a wrong one becomes a FieldError, the sentence that
visitors read), and a plan, which makes it ready for the engine.

base, kinds         what recipes and plans of all kinds have in common, and the table of kinds
sampling, inversion, interpolation, mixing, likelihood, lessons, decoding    one kind each (with `_plan` or `_routes` beside it)
sources             what a run starts from: a picture, a seed, floats; here a picture becomes a tensor
latent_files        latents as .safetensors
forms               raw values of the page's, the API's and the command line's fields to recipes
codecs, key_values  recipes to and from JSON, PNG files, links and command lines
snippets            recipes as code that somebody else can run
axes, tables        the two sides of a matrix, and a matrix found again in a recipe
path_files          films, sheets and latent files of a finished path
"""
