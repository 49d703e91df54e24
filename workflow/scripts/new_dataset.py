"""Write the file of a data set of one's own: a model, its training images, and pictures to explain."""

from os.path import normpath
from pathlib import Path

import yaml

from das import cli
from das.data.sources.listing import list_folder
from das.errors import UserError
from das.jobs import artifacts
from das.pipelines import pipeline
from das.plan import configuration, own

HOME = Path(__file__).parents[2]


def run(arguments):
    output = arguments.folder / f"{arguments.name}.yaml"
    if output.exists():
        raise UserError(f"{output}: is there already; choose another NAME, or edit it")
    settings = describe(arguments.images, arguments.model, arguments.pictures)
    schema = HOME / "workflow/schemas/dataset.schema.yaml"
    own.require(configuration.load_dataset(arguments.name, output.parent, {arguments.name: settings}, schema))
    sections = (
        f"{name}: {yaml.safe_dump(section, default_flow_style=True, sort_keys=False, width=1000)}"
        for name, section in settings.items()
    )
    text = f"# A model and pictures of one's own, see docs/own-model.md.\n{''.join(sections)}"
    with artifacts.replacing(output) as beside:
        beside.write_text(text)
    results = f"results/{arguments.name}"
    for folder in filter(None, (arguments.images, arguments.pictures)):
        print(list_folder(folder))
    print(f"Wrote {output}:\n\n{text}\nIt is used by\n")
    print(f"    .venv/bin/snakemake --cores all {results}/attributions.csv {results}/report.html")


def describe(images, model, pictures):
    """The settings; size and channels of images are the model's."""
    network = pipeline.read_network(model)
    source = {"kind": "folder", "path": images, "crop": "square"}
    side = network["sample_size"]
    if isinstance(side, int) and side > 0:  # of others the configuration of the network is refused, by name
        source["resize"] = side
    if network.get("in_channels") == 1:
        source["channels"] = 1
    made = {"queries": {"folder": pictures}} if pictures else {"generate": {"count": 20}}
    return {"source": source, "model": {"path": model}} | made


options = cli.parser(__doc__)
options.add_argument("name", help="of the data set: letters, digits and _")
options.add_argument(
    "--images", type=normpath, required=True, help="folder of the images that the model was trained on"
)
options.add_argument("--model", type=normpath, required=True, help="folder of a diffusers pipeline")
options.add_argument(
    "--folder", type=Path, default=Path("config/datasets"), help="where data sets have their files"
)
options.add_argument(
    "--pictures", type=normpath, help="folder of the pictures; without it the model makes twenty"
)
cli.main(run, options)
