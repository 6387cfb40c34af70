"""The decoder of a GPU: what it is given, and what becomes of a batch that it refuses."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from bottleneck.data.decoding import nvjpeg as module
from bottleneck.data.decoding.decode import decode_image
from bottleneck.data.decoding.nvjpeg import (
    EncodedJpeg,
    decode_jpegs,
    read_for_nvjpeg,
    require_nvjpeg,
)
from bottleneck.data.decoding.pillow_decoder import pixel_limit
from bottleneck.errors import InvalidOptionError
from tests.helpers.image_files import FILES, RGB, decoded, encode, exif_of, noise

CPU = torch.device("cpu")


def given(data: bytes) -> EncodedJpeg:
    jpeg = read_for_nvjpeg(data)
    assert jpeg is not None
    return jpeg


@pytest.mark.parametrize("name", FILES)
def test_only_usual_jpegs_are_given_to_nvjpeg(name: str) -> None:
    usual = name in ("jpeg", "jpeg-progressive", "jpeg-grey")
    assert (read_for_nvjpeg(FILES[name]) is not None) == usual


def test_a_file_is_given_as_it_is_with_its_orientation() -> None:
    data = encode(RGB, "JPEG", exif=exif_of(6))
    jpeg = given(data)
    assert bytes(jpeg.data.tolist()) == data
    assert jpeg.orientation == 6


@pytest.mark.parametrize("left", [0.3, 0.9, 0.999])
def test_a_file_that_is_cut_off_is_not_given(left: float) -> None:
    data = encode(Image.fromarray(noise(200, 300, 3)), "JPEG")
    assert read_for_nvjpeg(data[: int(left * len(data))]) is None
    assert read_for_nvjpeg(data + bytes(8)) is not None  # as some cameras write it


def test_colours_that_are_not_coded_as_ycbcr_are_not_given() -> None:
    data = encode(RGB, "JPEG", keep_rgb=True)
    np.testing.assert_array_equal(decoded(data), np.asarray(Image.open(io.BytesIO(data))))
    assert read_for_nvjpeg(data) is None


def test_too_many_pixels_are_not_given() -> None:
    with pixel_limit(100):
        assert read_for_nvjpeg(FILES["jpeg"]) is None


@pytest.mark.parametrize("orientation", range(10))
def test_images_are_upright(orientation: int, cpu_decodes: list[int]) -> None:
    data = encode(RGB, "JPEG", exif=exif_of(orientation))
    (pixels,) = decode_jpegs([given(data)], CPU)
    assert pixels is not None
    np.testing.assert_array_equal(pixels.permute(1, 2, 0), decode_image(data))


def test_a_refused_file_harms_no_other(cpu_decodes: list[int]) -> None:
    files = [encode(Image.fromarray(noise(9, 8 + i, 3)), "JPEG") for i in range(11)]
    jpegs = [given(data) for data in files]
    for i in (3, 10):
        jpegs[i] = EncodedJpeg(torch.zeros(5, dtype=torch.uint8), 0)
    found = decode_jpegs(jpegs, CPU)
    for i, (pixels, data) in enumerate(zip(found, files, strict=True)):
        if i in (3, 10):
            assert pixels is None
        else:
            assert pixels is not None
            np.testing.assert_array_equal(pixels.permute(1, 2, 0), decode_image(data))


def test_a_sound_batch_is_decoded_at_once(cpu_decodes: list[int]) -> None:
    decode_jpegs([given(FILES["jpeg"])] * 9, CPU)
    decode_jpegs([], CPU)
    assert cpu_decodes == [9]


def test_without_a_gpu_it_is_refused_with_the_next_step() -> None:
    with pytest.raises(InvalidOptionError, match=r"exact or fast, because the device is cpu: it"):
        require_nvjpeg(CPU)


@pytest.mark.parametrize("error", [RuntimeError("not compiled with nvJPEG"), AttributeError("no")])
def test_a_build_without_nvjpeg_is_refused(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise error

    monkeypatch.setattr(module, "_nvjpeg", refuse)
    with pytest.raises(InvalidOptionError, match=f"exact or fast, because .*{error}"):
        require_nvjpeg(torch.device("cuda:0"))


def test_nvjpeg_is_accepted_where_it_decodes(cpu_decodes: list[int]) -> None:
    require_nvjpeg(CPU)
    assert cpu_decodes == [1]


@pytest.mark.gpu
@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_gpu_decodes_nearly_the_pixels_of_the_exact_decoder(
    subsampling: str, progressive: bool, mode: str, gpu: torch.device
) -> None:
    y, x = np.mgrid[0:210, 0:333]
    smooth = np.stack([x / 2, y, 128 + 60 * np.sin(x / 30 + y / 40)], axis=-1).astype(np.uint8)
    image = Image.fromarray(smooth).convert(mode)
    data = encode(image, "JPEG", subsampling=subsampling, progressive=progressive, exif=exif_of(8))
    require_nvjpeg(gpu)
    found = decode_jpegs([given(data)] * 3, gpu)
    for pixels in found:
        assert pixels is not None
        assert pixels.device.type == "cuda"
        apart = pixels.permute(1, 2, 0).cpu().int().numpy() - decode_image(data)
        assert np.abs(apart).mean() < 2


@pytest.mark.gpu
def test_damage_on_a_gpu_harms_no_other_image(gpu: torch.device) -> None:
    files = [encode(Image.fromarray(noise(90, 120 + i, 3)), "JPEG") for i in range(8)]
    alone = [decode_jpegs([given(data)], gpu)[0] for data in files]
    broken = bytearray(files[5])
    broken[700:-2] = noise(len(broken) - 702, seed=3).tobytes()
    together = [given(data) for data in files]
    together[5] = EncodedJpeg(torch.frombuffer(broken, dtype=torch.uint8), 0)
    found = decode_jpegs(together, gpu)
    for i, (pixels, expected) in enumerate(zip(found, alone, strict=True)):
        if i != 5:
            assert pixels is not None
            assert expected is not None
            assert torch.equal(pixels, expected)
