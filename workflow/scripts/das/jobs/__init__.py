"""How a job runs, whatever it computes: whole artifacts, unfinished work, signals, devices, progress.

In: settings and files. Out: files with their provenance, or one line that says why not.
"""
