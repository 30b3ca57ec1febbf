"""The mathematics of DDPM and DDIM, with torch alone."""
