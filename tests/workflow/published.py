"""Every published data set, and a folder of images, on stand-ins of their true formats.

The rules and the files of config/datasets/ are the published ones; an override makes everything small. One
data set of each source runs whole, and of the others the images are prepared.
"""

import json

import pictures
import standins
import tiny_sd
from workflow.running import UNET, Workflow

SMALL = {
    "split": {"train": 24, "val": 6},
    "train": {"epochs": 2, "batch_size": 8},
    "generate": {"count": 6, "steps": 3},
    "errors": {"timesteps": 4},
    "gradients": {"timesteps": 2, "dimension": 128},
    "lds": {"subsets": 8, "train_seeds": [0], "timesteps": 2, "draws": 2},
    "jobs": {"models_per_job": 8, "rows_per_batch": 16, "images_per_shard": 100, "gpus": 0},
}
WHOLE, PREPARED = ("cifar2", "celeba", "artbench2", "photographs"), ("cifar10", "artbench5", "artbench10")
STYLES = {
    "artbench2": ["ukiyo_e", "post_impressionism"],
    "artbench5": ["ukiyo_e", "post_impressionism", "romanticism", "renaissance", "baroque"],
    "artbench10": sorted(standins.STYLES),
}


def unet(folder, size, channels=3):
    path = folder / f"unet-{size}.json"
    changes = {"sample_size": size, "in_channels": channels, "out_channels": channels}
    if size > 32:  # attention between so many pixels would take most of the time
        changes |= {"down_block_types": ["DownBlock2D"] * 2, "up_block_types": ["UpBlock2D"] * 2}
    path.write_text(json.dumps(UNET | changes))
    return {"unet": str(path)}


def lora(folder, name, train, val):
    """A small override of one of ArtBench's data sets."""
    styles = STYLES[name]
    prompts = [{"prompt": f"a {style.replace('_', ' ')} painting", "count": 1} for style in styles]
    return {
        "source": {"path": str(folder / "artbench")},
        "split": {"train": train, "val": val},
        "model": {"base": str(folder / "base"), "unet": str(folder / "sd.json"), "rank": 4},
        "generate": {"count": len(styles), "prompts": prompts},
    }


def run(folder):
    """Make the data sets in one call of Snakemake; the workflow."""
    cifar = standins.cifar10_archive(folder / "cifar-10-binary.tar.gz", per_batch=60)
    archive = {"source": {"path": str(cifar.path), "files": {cifar.path.name: cifar.override}}}
    celeba = standins.celeba(folder / "celeba", (30, 4, 10))
    (folder / "artbench").mkdir()
    standins.artbench(folder / "artbench", train=12, test=3, size=32)
    tiny_sd.build(folder / "base")
    (folder / "sd.json").write_text(json.dumps(tiny_sd.UNET))
    pictures.image_folder(folder / "photographs", per_class=14, size=24)
    changes = {
        "cifar2": archive | {"model": unet(folder, 32), "lds": {"published_indices": None}},
        "cifar10": archive | {"model": unet(folder, 32), "split": {"train": 40, "val": 10}},
        "celeba": {
            "source": {"path": str(folder / "celeba"), "files": celeba.files},
            "model": unet(folder, 64),
        },
        "artbench2": lora(folder, "artbench2", 24, 6)
        | {part: {"precision": {"cpu": "bf16"}} for part in ("train", "errors", "gradients", "lds")}
        | {"jobs": {"generated_per_job": 1}},
        "artbench5": lora(folder, "artbench5", 20, 5),
        "artbench10": lora(folder, "artbench10", 40, 10),
        "photographs": {
            "source": {
                "kind": "folder",
                "path": str(folder / "photographs"),
                "crop": "square",
                "resize": 16,
            },
            "split": {"train": 20, "val": 4},
            "model": {"family": "unet"} | unet(folder, 16),
            "train": {"learning_rate": 1.0e-3},
            "lds": {"timesteps": None, "budget": 2},
            "jobs": {"rows_per_batch": 128},
        },
    }
    workflow = Workflow(folder)
    workflow.config["datasets"] = {
        name: {
            section: SMALL.get(section, {}) | change.get(section, {})
            for section in SMALL.keys() | change.keys()
        }
        for name, change in changes.items()
    }
    workflow.make(
        *(f"results/{name}/lds_das.csv" for name in WHOLE),
        "results/artbench2/lds_raw_cos.csv",
        *(f"results/{name}/subsets.h5" for name in PREPARED),
    )
    return workflow
