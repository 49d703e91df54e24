"""What nothing needs any more: list it with how much it holds, or delete it.

snakemake --cores 1 --quiet all -- list_leftovers
snakemake --cores 1 --quiet all -- delete_leftovers

Needs nothing and makes nothing.
"""

for action in ("list", "delete"):

    rule:
        name:
            f"{action}_leftovers"
        input:
            script=script_file("leftovers.py"),
        log:
            f"logs/{action}_leftovers.log",
        localrule: True
        conda:
            ENVIRONMENT
        params:
            deletable=planned(pools.pool_folders, False),
            kept=planned(pools.pool_folders, True),
            days=config["execution"]["keep_states_days"],
            delete="--delete" if action == "delete" else "",
        message:
            "Looking for what nothing needs any more"
        shell:
            "python {input.script:q} --log {log} --threads {threads} --days {params.days}"
            " --deletable {params.deletable:q} --kept {params.kept:q} {params.delete}"
