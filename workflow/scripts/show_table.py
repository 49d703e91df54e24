"""Print the held-out rows of an LDS table."""

import sys

import pandas as pd

table = pd.read_csv(sys.argv[1])
table = table[table.damping_rule.isin(["held_out", "none"])].sort_values(["split", "lds"], ascending=False)
columns = ["method", "split", "lds", "ci_low", "ci_high", "lds_centred", "damping", "seconds"]
print(table[columns].round(4).to_string(index=False))
