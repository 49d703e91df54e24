"""Scores of training images by the methods of `das.methods`, block by block.

In: features, kernels, errors, images, embeddings, losses. Out: the artifacts "scores" and "predictions".
"""
