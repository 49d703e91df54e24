"""Diffusion models: their inputs, training, sampling, and where they err.

In: the artifacts "images" and "subsets".
Out: saved models, "latents", generated "images", "errors", "losses".
"""
