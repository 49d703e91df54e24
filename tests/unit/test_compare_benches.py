"""Tables of several benches: a difference turns its sign with the order of its methods."""

import pandas as pd
import pytest

from benchmarks import compare_benches
from das.errors import UserError

PAIRS = pd.DataFrame(
    [["val", "das", "trak", 5.0, 2.0, 7.5, 4.0, -1.0, 9.0]],
    columns=[
        *("split", "method", "other", "difference", "ci_low", "ci_high"),
        *("centred_difference", "centred_ci_low", "centred_ci_high"),
    ],
)


def test_a_difference_turns_its_sign_and_its_interval_with_the_order_of_methods():
    assert compare_benches.pair_cell(PAIRS, "das", "trak", "val", False) == "+5.0 (2.0 to 7.5)"
    assert compare_benches.pair_cell(PAIRS, "trak", "das", "val", False) == "−5.0 (−7.5 to −2.0)"
    assert compare_benches.pair_cell(PAIRS, "trak", "das", "val", True) == "−4.0 (−9.0 to 1.0)"


def test_what_a_bench_does_not_have_is_a_dash():
    assert compare_benches.pair_cell(PAIRS, "das", "trak", "gen", False) == "–"
    table = pd.DataFrame(columns=["method", "split", "lds", "ci_low", "ci_high"])
    assert compare_benches.level_cell(table, "das", "val", False) == "–"


def test_a_bench_that_was_not_run_is_named(tmp_path):
    with pytest.raises(UserError, match=r"lds\.csv: not found; make it with snakemake"):
        compare_benches.read_table(tmp_path, "lds.csv")
