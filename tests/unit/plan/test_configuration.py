"""Mistakes in the configuration are one line: file, key, what was found, what is allowed."""

from pathlib import Path

import pytest
import yaml

from das.errors import UserError
from das.plan.configuration import load_datasets, load_yaml, merge, require_counterfactual, validate

ROOT = Path(__file__).parents[3]
SCHEMA = ROOT / "workflow/schemas/dataset.schema.yaml"
DIGITS = ROOT / "config/datasets/digits.yaml"


def check(change):
    return validate(merge(load_yaml(DIGITS), change), SCHEMA, "digits.yaml")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train": {"epoch": 3}}, r"train: found unknown key 'epoch', allowed are .*epochs"),
        ({"train": {"epochs": 0}}, r"train\.epochs: found 0, allowed is at least 1"),
        ({"train": {"epochs": 80.0}}, r"train\.epochs: found 80\.0, allowed is a value of type integer"),
        ({"train": {"learning_rate": 2}}, r"train\.learning_rate: found 2, allowed is at most 1"),
        ({"train": {"learning_rate": float("nan")}}, r"learning_rate: found nan, allowed is a value of type"),
        (
            {"train": yaml.safe_load("learning_rate: 1e-4")},
            r"found the text '1e-4', expected a number; .*1\.0e-4",
        ),
        ({"source": {"kind": "mnist"}}, r"source\.kind: found 'mnist', allowed is artbench, celeba"),
        ({"gradients": {"noise": "common"}}, r"gradients\.noise: found 'common', allowed is own, shared"),
        ({"lds": {"train_seeds": []}}, r"lds\.train_seeds: found \[\], allowed is at least 1 entries"),
        ({"lds": {"train_seeds": [1, 1]}}, r"lds\.train_seeds: found \[1, 1\], allowed is no entry twice"),
        ({"train": {"checkpoints": [0, 50]}}, r"train\.checkpoints\.0: found 0, allowed is at least 1"),
        ({"train": {"checkpoints": [50, 100]}}, r"train\.checkpoints\.1: found 100, allowed is at most 99"),
        ({"train": {"checkpoints": [50, 50]}}, r"train\.checkpoints: found \[50, 50\], allowed is no entry"),
        ({"ensemble": {"seeds": [1, 1]}}, r"ensemble\.seeds: found \[1, 1\], allowed is no entry twice"),
        ({"ensemble": {"seeds": [-1]}}, r"ensemble\.seeds\.0: found -1, allowed is at least 0"),
        ({"surprise": 1}, r"top level: found unknown key 'surprise'"),
    ],
)
def test_a_mistake_is_one_line(change, message):
    with pytest.raises(UserError, match=message) as error:
        check(change)
    assert str(error.value).startswith("digits.yaml: ")
    assert "\n" not in str(error.value)


def loaded(tmp_path, change, without=()):
    """The data set digits with a change, and without some keys, such as train.epochs."""
    content = merge(load_yaml(DIGITS), change)
    for key in without:
        section, _, name = key.partition(".")
        del (content[section] if name else content)[name or section]
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(content))
    return load_datasets(tmp_path, {}, SCHEMA)["mine"]


@pytest.mark.parametrize(
    "key", ["train.epochs", "model.family", "model.unet", "generate.count", "split.train"]
)
def test_a_missing_key_is_named(tmp_path, key):
    section, _, name = key.partition(".")
    with pytest.raises(UserError, match=rf"mine.yaml: {section}: required key '{name}' is missing"):
        loaded(tmp_path, {}, [key])


def test_defaults_are_filled_in_at_every_depth():
    filled = check({})
    assert filled["train"]["processes"] == 1
    assert filled["train"]["checkpoints"] == [25, 50, 75]
    assert filled["ensemble"] == {"seeds": []}
    assert filled["retrain"] == {"subsets": 0, "seed": 1042, "seed_step": 2, "train_seeds": [0]}
    content = load_yaml(DIGITS)
    del content["jobs"]
    assert validate(content, SCHEMA, "x")["jobs"]["images_per_shard"] == 1000


def test_every_key_of_the_schemas_is_described():
    def walk(schema, name):
        for key, part in schema.get("properties", {}).items():
            assert part.get("description"), f"{name}.{key}"
            walk(part, f"{name}.{key}")

    for name in ("dataset", "config"):
        walk(load_yaml(ROOT / f"workflow/schemas/{name}.schema.yaml"), name)


def test_changes_are_merged_and_new_data_sets_come_from_them_alone():
    changes = {"digits": {"train": {"epochs": 1}}, "mine": load_yaml(DIGITS)}
    datasets = load_datasets(ROOT / "config/datasets", changes, SCHEMA)
    assert datasets["digits"]["train"]["epochs"] == 1
    assert datasets["digits"]["train"]["batch_size"] == 128
    assert datasets["mine"]["source"] == {"kind": "digits"}
    with pytest.raises(
        UserError, match=r"digits\.yaml \(changed by datasets\.digits\): train\.epochs: found -1"
    ):
        load_datasets(ROOT / "config/datasets", {"digits": {"train": {"epochs": -1}}}, SCHEMA)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ensemble": {"seeds": [41, 42]}}, r"ensemble\.seeds: found 42, which is train\.seed"),
        # 42, 44, ... 104 judge: 32 subsets.
        ({"retrain": {"subsets": 1, "seed": 104}}, r"retrain\.seed: random state 104 also draws"),
        ({"retrain": {"subsets": 33, "seed": 10, "seed_step": 1}}, r"retrain\.seed: random state 42 also"),
        ({"lds": {"subsets": 501}, "retrain": {"subsets": 1}}, r"retrain\.seed: random state 1042 also"),
    ],
)
def test_settings_that_do_not_go_together_are_one_line(change, message):
    with pytest.raises(UserError, match=message) as error:
        load_datasets(ROOT / "config/datasets", {"digits": change}, SCHEMA)
    assert "digits.yaml (changed by datasets.digits): " in str(error.value)
    assert "\n" not in str(error.value)


def test_a_name_that_no_file_could_have_is_one_line():
    with pytest.raises(UserError, match=r"^datasets\.my-set: name of a data set, allowed are letters"):
        load_datasets(ROOT / "config/datasets", {"my-set": {}}, SCHEMA)


@pytest.mark.parametrize(
    ("name", "section", "message"),
    [
        ("cifar10", {"queries": 2}, r"cifar10: counterfactual\.images: not set; say for how many"),
        ("cifar10", {"images": 2}, r"cifar10: counterfactual\.queries: not set; say for how many"),
        ("digits", {"queries": 201}, r"digits: counterfactual\.queries: found 201, allowed is at most 200"),
        ("digits", {"images": 1000}, r"digits: counterfactual\.images: found 1000, allowed is at most 999"),
    ],
)
def test_a_counterfactual_evaluation_that_cannot_be_made_is_one_line(name, section, message):
    """And one that is not asked for stands in nobody's way."""
    found = load_datasets(ROOT / "config/datasets", {name: {"counterfactual": section}}, SCHEMA)[name]
    with pytest.raises(UserError, match=message):
        require_counterfactual(found, name)


def test_a_counterfactual_evaluation_as_configured_can_be_made():
    found = load_datasets(ROOT / "config/datasets", {}, SCHEMA)
    for name in ("digits", "cifar2", "celeba", "artbench2"):
        assert require_counterfactual(found[name], name) == found[name]["counterfactual"]


@pytest.mark.parametrize(
    "retrain",
    [
        {"subsets": 0, "seed": 42},
        {"subsets": 500, "seed": 43},
        {"subsets": 32, "seed": 10, "seed_step": 1},
        {"subsets": 9, "seed": 106},
    ],
)
def test_subsets_that_share_no_random_state_with_those_that_judge_are_allowed(retrain):
    loaded = load_datasets(ROOT / "config/datasets", {"digits": {"retrain": retrain}}, SCHEMA)
    assert retrain.items() <= loaded["digits"]["retrain"].items()


@pytest.mark.parametrize(
    ("text", "message"),
    [("a: 1\nb: }", r"line 2: not valid YAML"), ("- 1", "holds list, expected keys and values")],
)
def test_a_file_that_is_not_yaml_is_named(tmp_path, text, message):
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(UserError, match=message):
        load_yaml(tmp_path / "a.yaml")


def test_the_conda_environment_has_the_pins_of_the_requirements():
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    conda = load_yaml(ROOT / "envs/das.yaml")["dependencies"][-1]["pip"]
    assert conda == [line for line in lines if not line.startswith("#")]
