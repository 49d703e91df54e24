"""The linear datamodeling score (LDS): how well predicted losses rank retrained models.

Notation, after arXiv 2311.00500:

    S, R, Q   subsets, training seeds per subset, query images; L dampings
    measured  loss of a subset's model on a query: mean over timesteps, noise draws and seeds, [S, Q]
    LDS       rank correlation over subsets of prediction and measured loss, mean over queries, percent

How the damping is chosen (`damping_rule`):

    held_out  on one half of the subsets, measured on the other, both ways; mean over 100 splits in halves
    gcv       by generalised cross-validation of the features, without any retrained model
    none      the method has no damping
    oracle    the best on the reported subsets themselves, as published tables do; of a method without
              damping, the statistic of these tables

The first three are measured by the unbiased rank correlation (`das.lds.unbiased`), whose expectation does
not depend on the number of subsets, with intervals by a jackknife over subsets (`das.lds.estimate`). The
oracle is Spearman's correlation. A correlation that is undefined because one side is constant counts as 0,
no evidence of a relation.
"""

from das.lds.table import COLUMNS, MAIN_RULES, measure_lds

__all__ = ["COLUMNS", "MAIN_RULES", "measure_lds"]
