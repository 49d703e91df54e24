"""Results to look at: plots, contact sheets and a page.

In: tables, scores and images. Out: PNG and HTML.
"""
