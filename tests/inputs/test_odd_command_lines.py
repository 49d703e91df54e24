"""Settings on the command line: within a value, Snakemake reads all of `--config` as text."""

from pathlib import Path

import pytest
from odd_inputs import Row, outcome, rows
from snakemake.cli import parse_config
from snakemake.utils import update_config

from das.errors import UserError
from das.plan import configuration

HOME = Path(configuration.__file__).parents[4]
SCHEMAS = HOME / "workflow/schemas"


def settings_of(data_set, *keys):
    """Settings of a data set of the workflow, and `--config` as Snakemake hands it on."""

    def read(given):
        changes = configured(given)["datasets"]
        found = configuration.load_datasets(
            HOME / "config/datasets", changes, SCHEMAS / "dataset.schema.yaml"
        )[data_set]
        for key in keys:
            found = found[key]
        return found

    return read


def configured(given):
    content = configuration.load_yaml(HOME / "config/config.yaml")
    update_config(content, given)
    content = configuration.mark_texts(content, given)
    return configuration.validate(content, SCHEMAS / "config.schema.yaml", "config/config.yaml")


def given(text):
    return lambda folder: parse_config([text])


EPOCHS = settings_of("digits", "train", "epochs")
ROWS = [
    (Row("integer", given("datasets={digits: {train: {epochs: 3}}}"), expected=3), EPOCHS),
    (
        Row(
            "no integer",
            given("datasets={digits: {train: {epochs: 3.5}}}"),
            ("train.epochs: found 3.5, allowed",),
        ),
        EPOCHS,
    ),
    (
        Row(
            "no number", given("datasets={digits: {train: {epochs: many}}}"), ("train.epochs: found 'many'",)
        ),
        EPOCHS,
    ),
    (
        Row("number", given("datasets={digits: {train: {learning_rate: 2.5e-4}}}"), expected=2.5e-4),
        settings_of("digits", "train", "learning_rate"),
    ),
    (
        Row(
            "number without a dot", given("datasets={digits: {train: {learning_rate: 1e-4}}}"), expected=1e-4
        ),
        settings_of("digits", "train", "learning_rate"),
    ),
    (
        Row(
            "infinite",
            given("datasets={digits: {train: {learning_rate: .inf}}}"),
            ("learning_rate: found inf",),
        ),
        settings_of("digits", "train", "learning_rate"),
    ),
    (
        Row("truth value", given("datasets={digits: {train: {flip: true}}}"), expected=True),
        settings_of("digits", "train", "flip"),
    ),
    (
        Row("numbers in a list", given("datasets={digits: {ensemble: {seeds: [5, 6]}}}"), expected=[5, 6]),
        settings_of("digits", "ensemble", "seeds"),
    ),
    (
        Row(
            "names that look like numbers",
            given("datasets={digits: {source: {classes: [3, 7]}}}"),
            expected=["3", "7"],
        ),
        settings_of("digits", "source", "classes"),
    ),
    (
        Row(
            "path that looks like a number",
            given("datasets={digits: {source: {path: 2024}}}"),
            expected="2024",
        ),
        settings_of("digits", "source", "path"),
    ),
    (
        Row("number or word", given("scores={damping: 0.1}"), expected=0.1),
        lambda c: configured(c)["scores"]["damping"],
    ),
    (
        Row("word or number", given("scores={damping: gcv}"), expected="gcv"),
        lambda c: configured(c)["scores"]["damping"],
    ),
    (Row("nothing", given("clip={model: null}"), expected=None), lambda c: configured(c)["clip"]["model"]),
]


@rows([row for row, _ in ROWS])
def test_what_is_nested_arrives_as_what_it_is(row, tmp_path):
    use = next(use for other, use in ROWS if other is row)
    found = outcome(row, tmp_path, use)
    assert found == row.expected
    assert row.refused or isinstance(found, type(row.expected))


def test_text_in_a_file_stays_text():
    changes = {"digits": {"train": {"epochs": "3"}}}
    with pytest.raises(UserError, match=r"train\.epochs: found the text '3', expected an integer"):
        configuration.load_datasets(HOME / "config/datasets", changes, SCHEMAS / "dataset.schema.yaml")
