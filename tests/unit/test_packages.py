"""The library's packages: which imports which, and which modules decide what a job makes."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from das.jobs import code
from das.pipelines.families import FAMILIES

SCRIPTS = code.SCRIPTS
MODULES = sorted(path.relative_to(SCRIPTS) for path in (SCRIPTS / "das").rglob("*.py"))
# In the order in which data flow: each imports those before it alone.
STAGES = (
    *("errors", "noise", "jobs", "data", "pipelines", "methods", "plan"),
    *("diffusion", "gradients", "scoring", "lds", "counterfactual", "attributions", "report", "cost", "cli"),
)


def stage(module):
    """The package, or the module at the top, that a module is part of."""
    return module.removeprefix("das.").partition(".")[0]


def imports(path):
    """Modules of the library that a file imports, also within functions."""
    found = set()
    for node in ast.walk(ast.parse((SCRIPTS / path).read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "das":
            for name in node.names:
                within = f"{node.module}.{name.name}"
                file = SCRIPTS / within.replace(".", "/")
                found.add(within if file.is_dir() or file.with_suffix(".py").exists() else node.module)
    return found


def test_every_part_of_the_library_has_its_place_and_says_what_it_is():
    top = {stage(".".join(path.with_suffix("").parts)) for path in MODULES} - {"__init__"}
    assert top == set(STAGES)
    for name in STAGES:
        package = SCRIPTS / "das" / name / "__init__.py"
        if package.exists():
            assert len(ast.get_docstring(ast.parse(package.read_text())).split()) > 8, name


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_no_module_imports_what_comes_after_it(path):
    own = stage(".".join(path.with_suffix("").parts))
    if own == "__init__":
        return
    for module in imports(path) - {"das"}:
        assert STAGES.index(stage(module)) <= STAGES.index(own), f"{path} imports {module}"


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_imports_are_found_by_the_text_of_a_module(path):
    """`das.jobs.code` reads them without a parser, which would take a dry run tenths of a second."""
    found = {name.removesuffix(".py").removesuffix("/__init__") for name in code.imported(path.as_posix())}
    assert {module.replace(".", "/") for module in imports(path)} <= found


def test_neutral_modules_exist():
    for name in (*code.NEUTRAL, *code.NEUTRAL_PACKAGES):
        assert (SCRIPTS / name).exists(), name


@pytest.mark.parametrize("family", FAMILIES)
def test_the_code_of_a_job_has_its_family_and_no_other(family):
    found = code.code_of("project_gradients.py", family=family)
    mine = code.code_of(f"das/diffusion/models/{family}.py")
    modules = {f"das/diffusion/models/{name}.py" for name in FAMILIES}
    assert f"das/diffusion/models/{family}.py" in found
    assert modules & set(found) == modules & set(mine), "no other, but for one that it is derived from"
    assert "das/gradients/projection.py" in found
    assert not [name for name in found if re.search("artifacts|plan|train|plots|sampling", name)]


def test_the_code_of_images_has_their_source_and_no_other():
    found = code.code_of("prepare_images.py", source="cifar10")
    assert {"das/data/prepare.py", "das/data/sources/cifar10.py", "das/data/sources/parquet.py"} <= set(found)
    assert not [name for name in found if re.search("celeba|artbench|digits", name)]


def loaded(modules, heavy):
    """Which of the heavy packages importing some modules loads."""
    program = f"import sys, {', '.join(modules)}; print(*sorted({heavy} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=SCRIPTS, capture_output=True, text=True, check=True
    )
    return done.stdout.split()


def modules_of(*packages):
    dotted = [".".join(path.with_suffix("").parts).removesuffix(".__init__") for path in MODULES]
    return [module for module in dotted if stage(module) in packages]


def test_what_rules_import_loads_neither_torch_nor_tables():
    """A dry run stays fast."""
    assert loaded(modules_of("plan", "methods"), {"torch", "pandas", "h5py", "sklearn"}) == []


def test_what_scores_and_measures_loads_no_torch():
    """The many short jobs stay short."""
    assert loaded(modules_of("scoring", "lds", "cli"), {"torch"}) == []


def test_every_script_has_a_rule_or_is_for_the_command_line():
    rules = "".join(path.read_text() for path in Path(SCRIPTS).parents[1].glob("rules/*.smk"))
    for_users = {"new_dataset.py", "show_status.py", "show_table.py"}
    for path in SCRIPTS.glob("*.py"):
        assert f'"{path.name}"' in rules or path.name in for_users, path.name
