"""Files in config/datasets/ that cannot be used: each stops its own data set, and no other."""

from odd_inputs import Row, outcome, rows

from das.plan.configuration import dataset_names, load_dataset
from workflow.running import ROOT

SCHEMA = ROOT / "workflow/schemas/dataset.schema.yaml"
DIGITS = (ROOT / "config/datasets/digits.yaml").read_bytes()


def holding(content, name="odd.yaml"):
    """A maker of a file of that content; returns the name of the data set."""

    def make(folder):
        (folder / name).write_bytes(content)
        return name.removesuffix(".yaml")

    return make


def link_to_nothing(folder):
    (folder / "odd.yaml").symlink_to(folder / "nowhere")
    return "odd"


def folder_in_its_place(folder):
    (folder / "odd.yaml").mkdir()
    return "odd"


def model_that_is_not_there(folder):
    (folder / "odd.yaml").write_text(
        "source: {kind: folder, path: nowhere}\nmodel: {path: nowhere.safetensors, base: nowhere}\n"
        "queries: {folder: nowhere}\n"
    )
    return "odd"


ROWS = [
    Row(
        "a bracket that is not closed",
        holding(b"source: {kind: digits"),
        ("odd.yaml: line 2: not valid YAML",),
    ),
    Row("an empty file", holding(b""), ("odd.yaml: is empty, expected keys and values",)),
    Row("a list", holding(b"- source\n"), ("odd.yaml: holds list, expected keys and values",)),
    Row("Latin-1", holding("# Köln\n".encode("latin-1")), ("odd.yaml: not UTF-8", "at byte 3")),
    Row("bytes of an image", holding(b"\x89PNG\r\n\x1a\n"), ("odd.yaml: not UTF-8",)),
    Row("a name with a dash", holding(b"source: {}\n", "my-set.yaml"), ("my-set.yaml: name of a data set",)),
    Row("an unknown key", holding(b"surprise: 1\n"), ("odd.yaml", "found unknown key 'surprise'")),
    Row("a link to nothing", link_to_nothing, ("odd.yaml: No such file",)),
    Row("a folder in its place", folder_in_its_place, ("odd.yaml: Is a directory",)),
    Row("a model that is not there", model_that_is_not_there, ("odd.yaml", "queries.folder: not supported")),
]


@rows(ROWS)
def test_a_file_that_cannot_be_used_stops_its_own_data_set_alone(row, tmp_path):
    (tmp_path / "digits.yaml").write_bytes(DIGITS)
    outcome(row, tmp_path, lambda name: load_dataset(name, tmp_path, {}, SCHEMA))
    assert "digits" in dataset_names(tmp_path, {})
    assert load_dataset("digits", tmp_path, {}, SCHEMA)["train"]["epochs"] == 60
