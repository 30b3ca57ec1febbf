"""DDPM and DDIM side by side: schedules, samplers, and the page that compares them."""
