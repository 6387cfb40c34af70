"""The bundled sample is what its recipe makes, and says what its README says."""

from pathlib import Path

import make
import numpy as np
import pytest
import torch
from digits_resnet import digits_resnet
from PIL import Image
from safetensors.torch import load_file

DATA = Path(__file__).parents[2] / "data"


def pixels(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): Image.open(path).tobytes()
        for path in folder.rglob("*.png")
    }


def test_the_images_are_those_that_the_recipe_writes(tmp_path: Path) -> None:
    make.write_images(tmp_path)
    bundled = pixels(DATA / "digits")
    assert len(bundled) == 896
    assert pixels(tmp_path) == bundled


def test_ten_training_images_a_class_and_all_others_to_test() -> None:
    counts = {
        split: [
            len(list((DATA / "digits" / split / str(digit)).iterdir())) for digit in range(5, 10)
        ]
        for split in ("train", "test")
    }
    assert counts == {"train": [10] * 5, "test": [172, 171, 169, 164, 170]}


def test_the_weights_belong_to_the_network() -> None:
    network = digits_resnet().eval()
    network.load_state_dict(load_file(DATA / "digits_resnet.safetensors"))
    with torch.inference_mode():
        assert network(torch.zeros(2, 3, 32, 32)).shape == (2, 5)


@pytest.mark.slow
def test_pretraining_repeats() -> None:
    first, second = make.pretrain().state_dict(), make.pretrain().state_dict()
    for name, value in first.items():
        np.testing.assert_array_equal(value.numpy(), second[name].numpy(), err_msg=name)
