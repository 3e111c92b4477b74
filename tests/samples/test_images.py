"""Images become what a model takes: size, layout, dtype, normalisation."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from convkit.errors import InputSpecError, UsageError
from convkit.options import Normalisation
from convkit.samples import load
from convkit.signature import Signature, TensorSpec
from convkit.validators.domains import Domain, Kind

PLAIN = Normalisation()


def takes(dtype, *shape):
    return Signature((TensorSpec("image", dtype, shape),), ())


def painted(path, width=8, height=6, colour=(255, 0, 51)):
    Image.new("RGB", (width, height), colour).save(path)
    return path


def arrays(path, signature, normalisation=PLAIN, high=None):
    domains = {} if high is None else {"image": Domain(Kind.IMAGE, 0, high, "the graph says so")}
    return [s.arrays["image"] for s in load(path, signature, domains, normalisation)[0]]


def test_layout_size_and_dtype_are_the_models(tmp_path):
    painted(tmp_path / "a.png")
    (planes,) = arrays(tmp_path, takes("float32", "n", 3, 4, 4))
    assert planes.shape == (1, 3, 4, 4) and planes.dtype == np.float32
    np.testing.assert_allclose(planes[0, :, 0, 0], [1, 0, 0.2], atol=1e-6)
    (pixels,) = arrays(tmp_path, takes("uint8", 1, 5, 7, 3), None)
    assert pixels.shape == (1, 5, 7, 3) and pixels[0, 0, 0].tolist() == [255, 0, 51]
    (grey,) = arrays(tmp_path, takes("float32", 1, 1, 4, 4))
    assert grey.shape == (1, 1, 4, 4)


def test_the_middle_is_cut_out_of_what_covers_the_size(tmp_path):
    picture = np.zeros((4, 12, 3), np.uint8)
    picture[:, 4:8] = 255
    Image.fromarray(picture).save(tmp_path / "a.png")
    (found,) = arrays(tmp_path / "a.png", takes("uint8", 1, 4, 4, 3), None)
    assert (found == 255).all()


def test_a_dynamic_size_is_the_images_own(tmp_path):
    painted(tmp_path / "a.png", 11, 7)
    assert arrays(tmp_path, takes("float32", "n", 3, "h", "w"))[0].shape == (1, 3, 7, 11)


def test_the_graphs_own_normalisation_and_the_users(tmp_path):
    painted(tmp_path / "a.png")
    (own,) = arrays(tmp_path, takes("float32", 1, 3, 4, 4), None, high=255)
    np.testing.assert_array_equal(own[0, :, 0, 0], [255, 0, 51])
    (own,) = arrays(tmp_path, takes("float32", 1, 3, 4, 4), None, high=1)
    np.testing.assert_allclose(own[0, :, 0, 0], [1, 0, 0.2], atol=1e-6)
    users = Normalisation((0.5, 0.5, 0.0), (0.5, 0.25, 1.0))
    (found,) = arrays(tmp_path, takes("float32", 1, 3, 4, 4), users, high=255)
    np.testing.assert_allclose(found[0, :, 0, 0], [1, -2, 0.2], atol=1e-6)


def test_where_nothing_tells_the_normalisation_the_flags_are_named(tmp_path):
    painted(tmp_path / "a.png")
    with pytest.raises(InputSpecError, match=r"a\.png.*'image'") as caught:
        arrays(tmp_path, takes("float32", 1, 3, 4, 4), None)
    assert "--image-mean" in caught.value.hint
    with pytest.raises(InputSpecError, match="2 and 1 values"):
        arrays(tmp_path, takes("float32", 1, 3, 4, 4), Normalisation((0.1, 0.2)))
    with pytest.raises(UsageError, match="from 0 to 1"):
        Normalisation((123.7,), (58.4,))
    with pytest.raises(UsageError, match="from 0 to 1"):
        Normalisation((0.5,), (0.0,))


def test_a_folder_is_a_sample_per_image_or_per_fixed_batch(tmp_path):
    for k in range(5):
        painted(tmp_path / f"{k}.jpg", colour=(40 * k,) * 3)
    found = load(tmp_path, takes("uint8", "n", 4, 4, 3), {}, None)[0]
    assert [s.recipe for s in found] == [f"{k}.jpg" for k in range(5)]
    found = load(tmp_path, takes("uint8", 2, 4, 4, 3), {}, None)[0]
    assert [s.recipe for s in found] == ["0.jpg, 1.jpg", "2.jpg, 3.jpg"]
    with pytest.raises(InputSpecError, match="batches of 6"):
        arrays(tmp_path, takes("uint8", 6, 4, 4, 3))


@pytest.mark.parametrize("signature", [takes("float32", 1, 10), takes("int8", 1, 4, 4, 3), takes("float32", 1, 4, 5, 6)])
def test_a_model_that_takes_no_images_is_told(signature, tmp_path):
    painted(tmp_path / "a.png")
    with pytest.raises(InputSpecError, match=r"a\.png is an image"):
        arrays(tmp_path, signature)


def test_damage_names_the_file(tmp_path):
    whole = painted(tmp_path / "whole.png", 300, 300).read_bytes()
    (tmp_path / "whole.png").unlink()
    for content in (b"", b"no image at all", whole[: len(whole) // 2], b"\x89PNG\r\n\x1a\n" + b"\0" * 40):
        (tmp_path / "a.png").write_bytes(content)
        with pytest.raises(InputSpecError, match=r"a\.png cannot be read"):
            arrays(tmp_path, takes("uint8", 1, 4, 4, 3))


def test_what_is_too_large_or_too_deep_is_refused_before_it_is_read(tmp_path):
    Image.new("1", (20_000, 20_000)).save(tmp_path / "a.png")
    with pytest.raises(InputSpecError, match=r"a\.png"):
        arrays(tmp_path, takes("uint8", 1, 4, 4, 3))
    Image.fromarray(np.full((4, 4), 40_000, np.uint16)).save(tmp_path / "a.png")
    with pytest.raises(InputSpecError, match="8 bits a channel"):
        arrays(tmp_path, takes("uint8", 1, 4, 4, 3))


def test_a_gif_that_calls_itself_png_is_not_read(tmp_path):
    Image.new("P", (4, 4)).save(tmp_path / "a.gif")
    (tmp_path / "a.gif").rename(tmp_path / "a.png")
    with pytest.raises(InputSpecError, match=r"a\.png cannot be read"):
        arrays(tmp_path, takes("uint8", 1, 4, 4, 3))
