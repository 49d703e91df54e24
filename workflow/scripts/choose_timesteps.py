"""Choose the timesteps at which losses are measured, by where the models of a pilot differ."""

import json
from pathlib import Path

from das import cli
from das.diffusion import pilot, strata
from das.jobs import artifacts


def run(arguments):
    settings = json.loads(arguments.settings)
    measured = pilot.read_pilot(arguments.pilot)
    bounds = measured.choose_strata(settings)
    count, reliability = len(bounds) - 1, measured.reliability(bounds, settings["draws"])
    cli.log.info(
        "%d of %d timesteps in each of %d draws, predicted reliability %s; "
        "the losses of lds take %s rows, about %.2g hours",
        *(count, len(measured.spread), settings["draws"]),
        ", ".join(f"{split} {value:.3f}" for split, value in reliability.items()),
        f"{count * arguments.rows:,}",
        count * arguments.hours,
    )
    if min(reliability.values()) < settings.get("reliability", 0):
        cli.log.warning(
            "lds.reliability: asked %s, predicted %.3f with all timesteps; more lds.draws would raise it",
            *(settings["reliability"], min(reliability.values())),
        )
    sample = strata.Sample.draw(bounds, settings["draws"], seed=0)
    with artifacts.write(
        arguments.output,
        strata.KIND,
        arguments.dataset,
        settings,
        splits=list(reliability),
        reliability=list(reliability.values()),
    ) as file:
        file["timesteps"], file["weights"] = sample.timesteps, sample.weights
        file["bounds"], file["spread"] = bounds, measured.spread


options = cli.parser(__doc__)
options.add_argument("--dataset", required=True, help="name that is stored in what is written")
options.add_argument("--pilot", type=Path, required=True)
options.add_argument("--settings", required=True, help="JSON: budget, draws; for auto, reliability")
options.add_argument("--rows", type=int, required=True, help="of losses, by timestep; to be said")
options.add_argument("--hours", type=float, required=True, help="that they take; likewise")
options.add_argument("--output", type=Path, required=True)
cli.main(run, options)
