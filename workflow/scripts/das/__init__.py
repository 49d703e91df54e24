"""Training-data attribution for diffusion models: the Diffusion Attribution Score (arXiv 2410.18639)."""

__version__ = "0.1.0"
