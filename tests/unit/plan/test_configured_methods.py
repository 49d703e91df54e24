"""A configured method says what it takes of a data set, and what is missing; what cannot work is named."""

import pytest

from das.errors import UserError
from das.plan.methods import ConfiguredMethod, configured_methods, evaluated_methods

CONFIG = {
    "features": {
        "loss": {"by_timestep": False},
        "apart": {"by_timestep": True},
        "both": {"by_timestep": True, "timestep_weights": "signal"},
        "preconditioned": {"preconditioner": {"name": "ekfac", "damping": 0.1}},
        "odd": {"preconditioner": {"name": "magic", "damping": 0.1}},
    },
    "kernels": {"gauss_newton": {}},
    "patches": {"small": {}, "large": {}},
    "preconditioners": {"ekfac": {}},
    "clip": {"model": None},
    "methods": {},
}
DATASET = {
    "model": {},
    "queries": {},
    "train": {"checkpoints": [25, 50]},
    "ensemble": {"seeds": [3, 9]},
    "retrain": {"subsets": 8},
    "gradients": {
        "timesteps": 10,
        "strategy": "uniform",
        "projection": "count-sketch",
        "dimension": 64,
        "projection_seed": 0,
    },
    "errors": {"timesteps": 50},
}


def of(entry):
    return ConfiguredMethod.of("m", entry, CONFIG)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"score": "magic"}, r"methods\.m\.score: found 'magic', allowed are .*das"),
        ({"score": "trak"}, r"methods\.m\.features: trak needs one of loss, apart"),
        ({"score": "trak", "features": "los"}, r"methods\.m\.features: found 'los', allowed are loss"),
        ({"score": "raw_cos", "features": "loss"}, r"m\.features: raw_cos works on no features"),
        ({"score": "nda"}, r"m\.patches: found None, nda needs one of small, large"),
        ({"score": "nda", "patches": "tiny"}, r"m\.patches: found 'tiny', nda needs one of small, large"),
        ({"score": "raw_cos", "patches": "small"}, r"m\.patches: raw_cos compares no patches"),
        ({"score": "raw_cos", "over": "seeds"}, r"m\.over: raw_cos works on no features"),
        (
            {"score": "das", "features": "apart"},
            r"m: the features apart keep their timesteps .*; add over: timesteps",
        ),
        (
            {"score": "das", "features": "both", "over": "timesteps"},
            r"features\.both\.timestep_weights: found 'signal', allowed is 'uniform'",
        ),
        (
            {"score": "das", "features": "loss", "over": "timesteps"},
            r"m\.over: found timesteps, but the features loss do not keep",
        ),
        (
            {"score": "das_gn", "features": "loss", "kernel": "magic"},
            r"m\.kernel: found 'magic', allowed are",
        ),
        ({"score": "das", "features": "loss", "kernel": "gauss_newton"}, "das needs the kernel of its own"),
        (
            {"score": "das_gn", "features": "apart", "over": "timesteps", "kernel": "gauss_newton"},
            "methods over timesteps have kernels of their own",
        ),
        (
            {"score": "das_gn", "features": "loss", "kernel": "gauss_newton", "dimension": 8},
            "the kernel gauss_newton is not folded",
        ),
        (
            {"score": "ekfac", "features": "odd"},
            r"features\.odd\.preconditioner\.name: found 'magic', allowed are ekfac",
        ),
        (
            {"score": "ekfac", "features": "loss"},
            r"m\.features: found loss, which have no preconditioner; ekfac needs one",
        ),
        (
            {"score": "das_gn", "features": "preconditioned", "kernel": "gauss_newton"},
            r"m\.kernel: found 'gauss_newton', but the features preconditioned have a preconditioner",
        ),
        (
            {"score": "ekfac", "features": "preconditioned", "queries": "journey"},
            r"m\.queries: found 'journey', but the features preconditioned have a preconditioner",
        ),
        (
            {"score": "trak", "features": "loss", "over": "seeds", "queries": "journey"},
            r"m\.queries: journey goes with the final model alone",
        ),
    ],
)
def test_a_method_that_cannot_work_is_named(entry, message):
    with pytest.raises(UserError, match=message):
        of(entry)


def test_the_parts_of_a_method_are_named_by_its_features_folders():
    def variants(**entry):
        return of({"score": "grad_dot", "features": "loss"} | entry).variants(DATASET)

    assert variants() == [""]
    assert variants(over="checkpoints") == ["@checkpoint-25", "@checkpoint-50", ""]
    assert variants(over="seeds") == ["@seed-3", "@seed-9", ""]


def test_journeys_score_generated_queries_alone():
    assert of({"score": "trak", "features": "loss", "queries": "journey"}).splits == ("gen",)
    assert of({"score": "trak", "features": "loss"}).splits == ("val", "gen")


@pytest.mark.parametrize(
    ("entry", "change", "message"),
    [
        (
            {"score": "grad_dot", "features": "loss", "over": "checkpoints"},
            {"train": {"checkpoints": []}},
            "train",
        ),
        ({"score": "grad_dot", "features": "loss", "over": "seeds"}, {"ensemble": {"seeds": []}}, "ensemble"),
        ({"score": "datamodel"}, {"retrain": {"subsets": 7}}, "retrain"),
        ({"score": "das", "features": "apart", "over": "timesteps"}, {"errors": {"timesteps": 25}}, "errors"),
        (
            {"score": "das", "features": "apart", "over": "timesteps"},
            {"gradients": DATASET["gradients"] | {"strategy": "cumulative"}},
            "errors",
        ),
        (
            {"score": "das", "features": "loss", "dimension": 32},
            {"gradients": DATASET["gradients"] | {"dimension": 48}},
            "dimension: found 32, allowed are divisors of 48 with projection count-sketch or dense; the "
            "projection of loss is count-sketch",
        ),
    ],
)
def test_what_a_data_set_lacks_is_named(entry, change, message):
    method = of(entry)
    assert method.missing(CONFIG, DATASET) is None
    assert method.missing(CONFIG, DATASET | change).startswith(message)


def test_a_kernel_must_be_of_its_features_projection():
    method = of({"score": "das_gn", "features": "loss", "kernel": "gauss_newton"})
    assert method.missing(CONFIG, DATASET) is None
    other = CONFIG | {"kernels": {"gauss_newton": {"dimension": 32}}}
    assert method.missing(other, DATASET) == (
        "kernels.gauss_newton.dimension: found 32, needed is that of the features loss, 64"
    )


def test_clip_needs_a_model_also_where_it_only_chooses_candidates():
    by_clip = {"score": "trak", "features": "loss", "candidates": {"by": "clip", "count": 5}}
    for entry in ({"score": "clip_cos"}, by_clip):
        assert of(entry).missing(CONFIG, DATASET).startswith("clip.model: not set")
        assert of(entry).missing(CONFIG | {"clip": {"model": "folder"}}, DATASET) is None


def test_all_configured_methods_are_read():
    methods = {"a": {"score": "raw_cos"}, "b": {"score": "trak", "features": "loss"}}
    assert list(configured_methods(CONFIG | {"methods": methods})) == ["a", "b"]


def test_methods_of_the_table_are_those_that_are_listed_or_all_that_a_data_set_allows():
    entries = {"raw": {"score": "raw_cos"}, "clip": {"score": "clip_cos"}}
    entries["trak"] = {"score": "trak", "features": "loss"}
    config = CONFIG | {"methods": entries, "evaluation": {"methods": []}}
    assert evaluated_methods(config, DATASET) == ["raw", "trak"]  # no CLIP model is named
    # What is listed and not possible is refused by name, not left out.
    assert evaluated_methods(config | {"evaluation": {"methods": ["trak", "clip"]}}, DATASET) == [
        "trak",
        "clip",
    ]
