"""List what nothing needs any more, and how much it holds; or delete it."""

from pathlib import Path

from das import cli
from das.errors import UserError
from das.jobs.leftovers import delete, delete_state, finished_models, half_made, stale_states

# Folders that jobs write to.
WRITTEN = (Path("results"), Path("data"))


def run(arguments):
    if arguments.delete:
        require_alone()
    states = stale_states(arguments.resume, arguments.days)
    half = [found for root in WRITTEN for found in half_made(root, arguments.days)]
    models = {pool: finished_models(pool) for pool in (*arguments.deletable, *arguments.kept)}
    heading = f"unfinished work in {arguments.resume}, untouched for {arguments.days:g} days"
    report(heading, states, arguments.delete)
    heading = f"half made in {' and '.join(map(str, WRITTEN))}, untouched for {arguments.days:g} days"
    report(heading, half, arguments.delete)
    for pool, found in models.items():
        deletes = arguments.delete and pool in arguments.deletable
        note = "" if pool in arguments.deletable else "; kept, see jobs.keep_models"
        report(f"retrained models in {pool} whose losses stand{note}", found, deletes)
    if arguments.delete:
        for state in states:
            delete_state(state)
        for leftover in (*half, *(model for pool in arguments.deletable for model in models[pool])):
            delete(leftover)


def require_alone():
    """Refuse to delete beside another Snakemake, whose jobs may need what looks finished."""
    # This one makes no file, and so locks none.
    if any(path.read_text().strip() for path in Path(".snakemake/locks").glob("*.output.lock")):
        raise UserError(
            "another Snakemake works in this folder; wait for its end, or unlock the folder (--unlock)"
        )


def report(heading, found, deletes):
    size = sum(leftover.bytes for leftover in found)
    print(f"{'deleting' if deletes else 'found'}: {heading}: {len(found)}, {size / 1e6:.1f} MB")
    for leftover in found:
        print(f"  {leftover.bytes / 1e6:10.1f} MB  {leftover.days:6.1f} days  {leftover.path}")


options = cli.parser(__doc__)
options.add_argument("--resume", type=Path, default=Path(".resume"), help="folder for unfinished work")
options.add_argument("--days", type=float, required=True, help="unfinished work must be older")
options.add_argument("--deletable", type=Path, nargs="*", default=[], help="such as results/digits/lds")
options.add_argument("--kept", type=Path, nargs="*", default=[], help="pools whose models are only listed")
options.add_argument("--delete", action="store_true", help="delete what is listed, but for what is kept")
cli.main(run, options)
