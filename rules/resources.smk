"""What jobs ask a scheduler for, see workflow/scripts/das/plan/needs.py; makes nothing.

On one machine without a scheduler, only threads and GPUs count: Snakemake shares them out.
"""

# What starts a job on GPUs of its own. Ancient: no result depends on it.
LAUNCHER = ancient(script_file("on_gpus.py"))


def asked(quantity, *kind):
    """A resources function: what a job asks for of a quantity of das.plan.needs.Needs, more at every attempt."""
    needs = planned(resources.needs, *kind)

    def amount(wildcards, attempt):
        return attempt * getattr(needs(wildcards), quantity)

    return amount


def in_memory(*kind):
    """Resources of a job on the CPU that holds much in memory; see `das.plan.resources.needs` for the kind."""
    return {quantity: asked(quantity, *kind) for quantity in ("mem_mb", "runtime")}


def on_device(*kind):
    """Resources of a job that runs a model; likewise."""
    return in_memory(*kind) | {
        "gpu": planned(setting, "jobs", "gpus"),
        "gpu_model": planned(resources.gpu_model),
        "disk_mb": asked("disk_mb", *kind),
        "device": config["execution"]["device"],
    }


# Of jobs that run a model on so many rows at once, and of those that save what they have done.
ROWS = {"rows": planned(setting, "jobs", "rows_per_batch")}
SAVING = {"checkpoint_seconds": str(config["execution"]["checkpoint_seconds"])}
TRAINING = SAVING | {"tracking": config["execution"]["tracking"]}


def list_of(models):
    """A resources function: names of models, with wildcards filled in."""
    return lambda wildcards: " ".join(models).format(**wildcards)
