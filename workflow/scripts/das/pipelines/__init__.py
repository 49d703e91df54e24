"""Saved models as files: which there are, what their configurations may say, which weights they hold.

In: a folder in diffusers' format, or a file of adapters.
Out: facts for the plan, or one line that refuses it. No torch.
"""
