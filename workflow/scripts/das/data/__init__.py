"""Images, and the subsets of them on which models are retrained.

In: published files, a folder of images, or nothing for embedded ones.
Out: the artifacts "images" and "subsets".
"""
