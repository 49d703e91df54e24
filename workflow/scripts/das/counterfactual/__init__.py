"""What becomes of generated images when models are trained without some images, or with them alone.

In: scores, and models retrained for each query. Out: subsets to train on, and the artifact "outcomes".
"""
