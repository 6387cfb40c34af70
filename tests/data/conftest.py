from collections.abc import Iterator

import pytest
from PIL import Image


@pytest.fixture(scope="module")
def few_pixels() -> Iterator[None]:
    """A header that was hit must not make the tests slow."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Image, "MAX_IMAGE_PIXELS", 200_000)
        yield
