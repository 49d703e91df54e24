"""Training-data attribution for diffusion models.

snakemake --cores 2 results/digits/lds.csv        one data set, all methods
snakemake --cores 2 results/cifar2/lds_das.csv    one data set, one method
snakemake -n results/cifar2/lds_das.csv           what that would run
"""


configfile: f"{workflow.basedir}/config/config.yaml"


DEMO = [
    "results/digits/lds_das.csv",
    "results/digits/lds.csv",
    "results/digits/lds.png",
    "results/digits/lds_pairs.csv",
    "results/digits/images/gen.png",
    "results/digits/scores/das/gen.h5",
]


include: "rules/common.smk"
include: "rules/resources.smk"
include: "rules/images.smk"
include: "rules/latents.smk"
include: "rules/model.smk"
include: "rules/own.smk"
include: "rules/errors.smk"
include: "rules/embeddings.smk"
include: "rules/patches.smk"
include: "rules/preconditioners.smk"
include: "rules/gradients.smk"
include: "rules/kernels.smk"
include: "rules/timesteps.smk"
include: "rules/subset_models.smk"
include: "rules/lds.smk"
include: "rules/counterfactual.smk"
include: "rules/attributions.smk"
include: "rules/report.smk"
include: "rules/ablation.smk"
include: "rules/cost.smk"
include: "rules/leftovers.smk"


rule demo:
    default_target: True
    input:
        DEMO,
    localrule: True


onstart:
    # Snakemake writes it into the scripts of a cluster's jobs as it stands.
    if workflow.non_local_exec and (odd := re.findall(r"[^\w@%+=:,./-]", sys.executable)):
        fail(
            f"{sys.executable}: for a cluster, its path must not hold {odd[0]!r}; clone into another folder"
        )


onerror:
    # Once more, below what jobs that went on have said since.
    for line in errors_of_jobs(log):
        print(line, file=sys.stderr)
