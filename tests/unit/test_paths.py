"""Names that rules and scripts build."""

import pytest

from das.paths import variant_folder


@pytest.mark.parametrize(
    ("variant", "folder"),
    [("", "model"), ("@checkpoint-25", "model/checkpoints/25"), ("@seed-43", "model/seeds/43")],
)
def test_a_variant_names_the_folder_of_a_model(variant, folder):
    assert variant_folder(variant) == folder
