import pytest

from bottleneck.data.images import open_images
from bottleneck.errors import InvalidOptionError


@pytest.mark.parametrize("images", [["1.jpg", "2.jpg"], None])
def test_objects_that_are_neither_a_path_nor_a_source_are_refused(images: object) -> None:
    with pytest.raises(InvalidOptionError, match=r"`images='\w+'`: must be a path or an ImageS"):
        open_images(images)  # type: ignore[arg-type]


def test_an_empty_path_is_not_the_working_directory() -> None:
    with pytest.raises(InvalidOptionError, match=r"`images=''`: must be a path"):
        open_images("")
