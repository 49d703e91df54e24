"""What the rules of the workflow decide: settings, files, jobs and what these need.

In: the configuration and wildcards.
Out: names of files, options of scripts, or one line that names a mistake. No torch.
"""
