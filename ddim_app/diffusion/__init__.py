"""The mathematics of DDPM and DDIM, with torch alone; it knows neither recipes nor devices nor the page.

reference           the samplers as the papers write them, for one picture: begin here
schedule            betas, alpha_bar, timestep spacings, the levels that are visited
formulas            the papers' equations as functions, and the rules that clip a predicted picture
noise               the noise of a seed: x_T, and the Brownian path that the noise of every step is drawn from
sampler             many rows at a time, each with its own levels, eta and noise; a new sampler is added here
multistep           DPM-Solver++(2M): what a row of it keeps of the step before
lockstep            several processes whose network calls are made together
naive_inversion, fixed_point_inversion, exact_inversion    pictures to latents
latent_paths        lines, great circles, grids and loops between latents
elbo, term_sampling the variational bound, and which of its terms are evaluated
output_check        whether what a network gave out can be a prediction
forward, gaussianity, metrics, batch_sizes       the forward processes, moments of latents, distances, sizes of network calls
"""
