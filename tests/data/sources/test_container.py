"""Images in containers that another process looks through again."""

import pickle
from pathlib import Path

import numpy as np
import pytest

from bottleneck.data.images import open_images
from bottleneck.errors import ContainerError, ImageError
from tests.helpers.archives import picture


def test_another_process_reads_no_image_of_another_label_under_an_old_name(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, images=picture(0, 4, 8, 8), labels=[0, 1, 1, 0])
    pickled = pickle.dumps(open_images(path))
    np.savez(path, images=picture(1, 3, 8, 8), labels=[1, 1, 0])
    source = pickle.loads(pickled)
    for row in (0, 2):
        with pytest.raises(ContainerError, match="its container changed while it was in use"):
            source.with_table(source.table).read(row)
    with pytest.raises(ImageError, match="not in its container any more"):
        source.read(3)
    assert source.read(1).endswith(picture(1, 3, 8, 8)[1].tobytes())  # as its label says
