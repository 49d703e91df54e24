"""Features share a gradient pass that a command asks for, that see the same rows and do not stand yet."""

from pathlib import Path

import pytest
from test_plan import at, planning  # noqa: F401 -- a fixture

from das.plan import passes

G = "results/tiny/gradients"
CHANGES = {"jobs": {"images_per_shard": 30}, "train": {"checkpoints": [50]}, "ensemble": {"seeds": [5]}}


@pytest.fixture
def plan(planning):  # noqa: F811
    return planning({"datasets": {"tiny": CHANGES}})


def shared(plan, *arguments):
    """Features, variant, split and shards of passes of several."""
    one, *found = passes.passes(plan, arguments)
    assert (one.rule, one.features) == ("project_gradients", ())
    assert len({each.rule for each in found}) == len(found)
    return {
        (*each.features, each.only["variant"].strip("()").replace("\\", ""), each.only["split"]): each.only[
            "shard"
        ]
        for each in found
    }


def stand(*files):
    for file in files:
        Path(file).parent.mkdir(parents=True, exist_ok=True)
        Path(file).touch()


SIX = ("loss", "loss_normalised", "squared", "mean", "mean_weighted", "mean_by_timestep")
SHARED = ("loss_shared", "loss_normalised_shared", "squared_shared", "mean_shared")


@pytest.mark.parametrize(
    "table", ["lds.csv", "lds.png", "lds_pairs.csv", "lds_queries.csv", "lds_subsets.png"]
)
def test_features_of_the_table_are_made_in_a_pass_over_a_shard_for_each_noise(plan, table):
    """Of the ensemble's member three; of the checkpoint the loss alone, which is no company."""
    member = ("loss_normalised", "squared", "mean", "@seed-5")
    assert shared(plan, "--cores", "2", f"results/tiny/{table}") == {
        (*SIX, "", "train"): "000|001",
        (*SIX, "", "val"): "000",
        (*SIX, "", "gen"): "000",
        (*SHARED, "", "train"): "000|001",
        (*SHARED, "", "val"): "000",
        (*SHARED, "", "gen"): "000",
        (*member, "train"): "000|001",
        (*member, "val"): "000",
        (*member, "gen"): "000",
    }


def test_targets_together_share_what_they_have_in_common(plan):
    both = ("mean", "mean_weighted")
    assert shared(plan, "results/tiny/lds_das.csv") == {}
    assert shared(plan, "results/tiny/lds_das.csv", "results/tiny/lds_das_weighted.csv") == {
        (*both, "", "train"): "000|001",
        (*both, "", "val"): "000",
        (*both, "", "gen"): "000",
    }
    assert shared(
        plan, "results/tiny/predictions/das/val.h5", "results/tiny/predictions/das_weighted/gen.h5"
    ) == {(*both, "", "train"): "000|001"}


@pytest.mark.parametrize("damping", ["gcv", "held_out"])
def test_scores_of_a_split_ask_for_others_where_the_lds_chooses_their_damping(planning, damping):  # noqa: F811
    plan = planning({"scores": {"damping": damping}})
    found = shared(plan, *(f"results/tiny/scores/{method}/gen.h5" for method in ("das", "das_weighted")))
    assert {split for *_, split in found} == {"train", "gen"} | ({"val"} if damping == "held_out" else set())


@pytest.mark.parametrize(
    ("targets", "features"),
    [
        (["attributions.csv", "attributions_das_shared.csv"], ("loss_normalised_shared", "mean_shared")),
        (["report.html", "lds_trak_shared.csv"], ("loss_shared", "loss_normalised_shared")),
        (["counterfactual.csv"], ("loss", "squared", "mean", "mean_weighted")),
        (["gradients/mean/train/shard-000.h5", "gradients/loss/train/shard-000.h5"], ("loss", "mean")),
        (["lds_das.csv", "lds_das_shared.csv"], None),
        (["gradients/magic/train/shard-000.h5", "lds_magic.csv", "cost.csv", "lds_journey_trak.csv"], None),
    ],
)
def test_targets_ask_for_the_features_of_their_methods(plan, targets, features):
    found = {key[:-2] for key in shared(plan, *(f"results/tiny/{target}" for target in targets))}
    assert found == ({features} if features else set())


def test_what_the_ablation_changes_of_rows_is_apart(plan):
    """Its changes of the output and of the mean alone see the rows of its base."""
    found = {key[:-2] for key in shared(plan, "results/tiny/ablation.csv")}
    assert found == {
        (
            "mean",
            "ablation_normalise_False",
            "ablation_timestep_weights_signal",
            "ablation_output_loss",
            "ablation_output_mean_squared_l2_norm",
        ),
    }


def test_what_stands_is_not_in_company(plan):
    target = "results/tiny/lds.csv"
    stand(*(f"{G}/{name}/train/shard-000.h5" for name in SIX[:5]), f"{G}/mean/train/shard-001.h5")
    found = {key: shards for key, shards in shared(plan, target).items() if key[-2:] == ("", "train")}
    assert found == {
        ("loss", "loss_normalised", "squared", "mean_weighted", "mean_by_timestep", "", "train"): "001",
        (*SHARED, "", "train"): "000|001",
    }


def test_a_job_on_a_cluster_finds_its_rule_whatever_stands_by_now(plan):
    """Its arguments name the rule and wildcards alone, see RealExecutor.get_job_args of Snakemake."""
    found = [each for each in passes.passes(plan, ["results/tiny/lds.csv"]) if each.features]
    for each in found:
        variant = each.only["variant"].strip("()").replace("\\", "")
        wildcards = f"dataset=tiny,variant={variant},split={each.only['split']},shard=000"
        stand(f"{G}/mean{variant}/{each.only['split']}/shard-000.h5")
        arguments = ["--target-jobs", f"{each.rule}:{wildcards}", "--allowed-rules", each.rule]
        _, again = passes.passes(plan, arguments)
        assert (again.rule, again.features, again.files) == (each.rule, each.features, each.files)
        assert again.only == {**each.only, "shard": "000"}


def test_files_are_called_by_what_makes_each_alone(planning):  # noqa: F811
    plan, other = planning(), planning({"features": {"loss": {"normalise": True}}})
    wildcards = {"dataset": "tiny", "variant": "", "split": "train", "shard": "000"}
    named = {
        name: [passes.unplaced(each, at(**wildcards, features=name)) for each in (plan, other)]
        for name in ("loss", "mean")
    }
    assert named["mean"][0] == named["mean"][1]
    assert named["loss"][0] != named["loss"][1]
    *_, several = passes.passes(plan, [f"{G}/mean/train/shard-000.h5", f"{G}/loss/train/shard-000.h5"])
    assert [file.format(**wildcards) for file in several.files] == [named["loss"][0], named["mean"][0]]
