"""What a server on the internet needs around the page.

server              launching, routes, sweeping, an end in good order
health              what /health and /metrics tell
front_page          the page as it is sent, written once
gate                limits of a request before Gradio sees it
request_limits      what a run is checked for before it is queued
visitors            whose share of the machine a request counts towards
gradio_patches      what is changed inside Gradio's own objects
"""
