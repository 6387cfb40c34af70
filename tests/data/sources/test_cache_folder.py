from pathlib import Path

import pytest

from bottleneck.data.sources.cache_folder import is_cache_folder
from tests.helpers.image_folders import touch


@pytest.mark.parametrize(
    ("names", "is_cache"),
    [
        (["spec.json", "images.csv"], True),
        (["spec.json", "images.csv", "codes/layer3/00000.h5", "rejected.csv"], True),
        (["images.csv", "ants/1.jpg"], False),
        (["spec.json", "1.jpg"], False),
        (["spec.json/1.jpg", "images.csv/1.jpg"], False),
        ([], False),
    ],
)
def test_a_cache_is_recognised_by_its_two_small_files(
    tmp_path: Path, names: list[str], is_cache: bool
) -> None:
    assert is_cache_folder(touch(tmp_path, *names)) == is_cache
