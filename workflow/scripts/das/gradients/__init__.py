"""Per-image gradients of a trained model, projected.

In: a saved model and its inputs. Out: the artifacts "features" and "kernel".
"""
