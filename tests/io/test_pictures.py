"""What is exported opens elsewhere: the same numbers, to scale, where they were, with names and provenance."""

from __future__ import annotations

import json
import warnings
from xml.etree import ElementTree as ET

import numpy as np
import pytest
import tifffile
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from ulmpipe.errors import InputError
from ulmpipe.io.pictures import halved, write_ome_tiff, write_ome_zarr
from ulmpipe.io.stores import open_store

PIXEL = (3.125e-6, 6.25e-6)
ORIGIN = (8e-3, -1.2e-3)
MADE = {"stage": "track_maps", "parameters": {"minimum_points": 5}, "author": 'Zoë <"z&z">'}
OME = {"ome": "http://www.openmicroscopy.org/Schemas/OME/2016-06"}
RECORD = {"pixel_size": PIXEL, "origin": ORIGIN, "provenance": MADE}


def counts(shape=(2, 301, 515), dtype=np.int32):
    return np.random.default_rng(0).poisson(0.5, shape).astype(dtype)


def omexml(path):
    with tifffile.TiffFile(path) as file:
        return ET.fromstring(file.ome_metadata)


def test_a_tiff_comes_back_with_scale_place_names_and_provenance(tmp_path):
    path, image = tmp_path / "rat.ome.tif", counts()
    write_ome_tiff(path, image, channel_names=["density", "flux ↓"], **RECORD)
    np.testing.assert_array_equal(tifffile.imread(path), image)
    root = omexml(path)
    pixels = root.find(".//ome:Pixels", OME)
    assert pixels.get("PhysicalSizeX") == "6.25"
    assert pixels.get("PhysicalSizeY") == "3.125"
    assert pixels.get("PhysicalSizeXUnit") == pixels.get("PhysicalSizeYUnit") == "µm"
    assert [pixels.get(f"Size{axis}") for axis in "XYCZT"] == ["515", "301", "2", "1", "1"]
    assert [channel.get("Name") for channel in pixels.findall("ome:Channel", OME)] == ["density", "flux ↓"]
    places = {(plane.get("PositionX"), plane.get("PositionY")) for plane in pixels.findall("ome:Plane", OME)}
    assert places == {("-1200.0", "8000.0")}
    assert root.find("ome:Image", OME).get("Name") == "rat"
    assert json.loads(root.find(".//ome:Description", OME).text) == MADE
    with tifffile.TiffFile(path) as file:
        tags = file.pages[0].tags
        # dots per centimetre of 6.25 and 3.125 µm
        assert tags["XResolution"].value == (1600, 1)
        assert tags["YResolution"].value == (3200, 1)
        assert tags["ResolutionUnit"].value == tifffile.RESUNIT.CENTIMETER


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int32", "float32", "float64", "bool"])
def test_both_formats_keep_every_dtype_and_one_plane_needs_no_channel_axis(tmp_path, dtype):
    image = counts((40, 33), dtype)
    write_ome_tiff(tmp_path / "a.ome.tif", image, **RECORD)
    write_ome_zarr(tmp_path / "a.ome.zarr", image, **RECORD)
    expected = "uint8" if dtype == "bool" else dtype
    for read in (
        tifffile.imread(tmp_path / "a.ome.tif"),
        zarr.open_group(tmp_path / "a.ome.zarr", mode="r")["0"][0],
    ):
        assert read.dtype == expected
        np.testing.assert_array_equal(read, image)


def test_nan_survives(tmp_path):
    speed = np.full((30, 20), np.nan, dtype=np.float32)
    speed[3, 4] = 2e-3
    write_ome_tiff(tmp_path / "a.ome.tif", speed, **RECORD)
    write_ome_zarr(tmp_path / "a.ome.zarr", speed, **RECORD)
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "a.ome.tif"), speed)
    store = open_store(tmp_path / "a.ome.zarr")
    np.testing.assert_array_equal(store["0"][0], speed)
    assert store.attrs["ome"]["omero"]["channels"][0]["window"]["end"] == pytest.approx(2e-3)


def test_a_pyramid_of_a_tiff_is_in_its_subifds(tmp_path):
    path, image = tmp_path / "rat.ome.tif", counts((2, 300, 515))
    write_ome_tiff(path, image, pyramid=True, **RECORD)
    with tifffile.TiffFile(path) as file:
        assert len(file.series) == 1
        levels = file.series[0].levels
        assert [level.shape for level in levels] == [(2, 300, 515), (2, 150, 258), (2, 75, 129)]
        np.testing.assert_array_equal(levels[0].asarray(), image)
        np.testing.assert_array_equal(levels[1].asarray(), blocks(image, np.max))
        for half, level in enumerate(levels):
            dots, unit = level.pages[0].tags["XResolution"].value
            assert dots / unit == pytest.approx(1600 / 2**half)


def test_the_same_image_gives_the_same_file_and_another_one_another_identifier(tmp_path):
    for name, image in (("one", counts()), ("two", counts()), ("three", counts() + 1)):
        (tmp_path / name).mkdir()
        write_ome_tiff(tmp_path / name / "a.ome.tif", image, **RECORD)
    one, two, three = (tmp_path / name / "a.ome.tif" for name in ("one", "two", "three"))
    assert one.read_bytes() == two.read_bytes()
    assert omexml(one).get("UUID") != omexml(three).get("UUID")


def positions(dataset, shape):
    """µm of the centres of a level's pixels along y and x, as a reader of OME-NGFF finds them."""
    scale, translation = dataset["coordinateTransformations"]
    assert (scale["type"], translation["type"]) == ("scale", "translation")
    assert len(scale["scale"]) == len(translation["translation"]) == 3
    return [
        step * np.arange(length) + start
        for step, start, length in zip(
            scale["scale"][1:], translation["translation"][1:], shape[1:], strict=True
        )
    ]


def test_an_ome_zarr_obeys_the_rules_of_ome_ngff(tmp_path):
    path, image = tmp_path / "rat.ome.zarr", counts((3, 300, 515)) - 1
    write_ome_zarr(
        path, image, channel_names=["a", "b", "c"], colors=["FF0000", "00ff00", "0000FF"], **RECORD
    )
    document = json.loads((path / "zarr.json").read_text())
    assert document["zarr_format"] == 3
    ome = document["attributes"]["ome"]
    assert ome["version"] == "0.5"
    (multiscale,) = ome["multiscales"]
    assert multiscale["axes"] == [
        {"name": "c", "type": "channel"},
        {"name": "y", "type": "space", "unit": "micrometer"},
        {"name": "x", "type": "space", "unit": "micrometer"},
    ]
    group = zarr.open_group(path, mode="r")
    levels = [group[dataset["path"]] for dataset in multiscale["datasets"]]
    assert [level.shape for level in levels] == [(3, 300, 515), (3, 150, 258), (3, 75, 129)]
    for level in levels:
        assert level.metadata.dimension_names == ("c", "y", "x")
    np.testing.assert_array_equal(levels[0][:], image)
    np.testing.assert_array_equal(levels[1][:], blocks(image, np.max))

    y, x = positions(multiscale["datasets"][0], levels[0].shape)
    assert (y[0], y[1], x[0], x[1]) == pytest.approx((8000, 8003.125, -1200, -1193.75))
    for dataset, level in zip(multiscale["datasets"][1:], levels[1:], strict=True):
        for fine, coarse in zip((y, x), positions(dataset, level.shape), strict=True):
            n = round((coarse[1] - coarse[0]) / (fine[1] - fine[0]))
            whole = len(fine) // n
            # a coarse pixel is where its fine ones are
            np.testing.assert_allclose(coarse[:whole], fine[: whole * n].reshape(whole, n).mean(axis=1))

    channels = ome["omero"]["channels"]
    assert [channel["label"] for channel in channels] == ["a", "b", "c"]
    assert [channel["color"] for channel in channels] == ["FF0000", "00ff00", "0000FF"]
    for channel, plane in zip(channels, image, strict=True):
        window = channel["window"]
        assert (window["min"], window["max"]) == (plane.min(), plane.max())
        assert window["min"] <= window["start"] < window["end"] <= window["max"]


def test_an_ome_zarr_is_a_store_with_provenance_that_misses_no_chunk(tmp_path):
    path = tmp_path / "rat.ome.zarr"
    write_ome_zarr(path, counts((1, 300, 1500)), **RECORD)
    assert open_store(path, "0", "1").attrs["provenance"] == MADE
    (path / "0" / "c" / "0" / "0" / "1").unlink()
    with pytest.raises(InputError, match="truncated or damaged"):
        open_store(path)


@pytest.mark.parametrize("write", [write_ome_tiff, write_ome_zarr])
def test_a_failing_writer_keeps_the_earlier_picture_and_leaves_nothing(tmp_path, monkeypatch, write):
    path = tmp_path / ("a.ome.tif" if write is write_ome_tiff else "a.ome.zarr")
    write(path, counts(), **RECORD)

    def fail(*arguments, **more):
        raise OSError("disk full")

    target = tifffile.TiffWriter if write is write_ome_tiff else zarr.Group
    monkeypatch.setattr(target, "write" if write is write_ome_tiff else "create_array", fail)
    with pytest.raises(OSError, match="disk full"):
        write(path, counts() + 1, **RECORD)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    monkeypatch.undo()
    read = tifffile.imread(path) if write is write_ome_tiff else open_store(path)["0"][:]
    np.testing.assert_array_equal(read, counts())


def test_the_models_of_the_specification_read_an_ome_zarr(tmp_path):
    from ome_zarr_models import open_ome_zarr
    from ome_zarr_models.v05 import Image

    path, image = tmp_path / "rat.ome.zarr", counts()
    write_ome_zarr(path, image, channel_names=["density", "flux"], **RECORD)
    read = open_ome_zarr(zarr.open_group(path, mode="r"))  # refuses what the specification does
    assert isinstance(read, Image)
    (pyramid,) = read.attributes.ome.multiscales
    assert [(axis.name, axis.type, axis.unit) for axis in pyramid.axes] == [
        ("c", "channel", None),
        ("y", "space", "micrometer"),
        ("x", "space", "micrometer"),
    ]
    levels = [read.members[dataset.path] for dataset in pyramid.datasets]
    assert [level.shape for level in levels] == [(2, 301, 515), (2, 151, 258), (2, 76, 129)]
    scale, translation = pyramid.datasets[0].coordinateTransformations
    assert scale.scale == [1, 3.125, 6.25]
    assert translation.translation == [0, 8000, -1200]


def test_the_library_of_napari_s_reader_reads_an_ome_zarr(tmp_path):
    pytest.importorskip("ome_zarr", reason="ome-zarr's pins of fsspec and wrapt contradict Snakemake's")
    from ome_zarr.io import parse_url
    from ome_zarr.reader import Reader

    path, image = tmp_path / "rat.ome.zarr", counts()
    write_ome_zarr(path, image, channel_names=["density", "flux"], **RECORD)
    (node,) = Reader(parse_url(path))()
    np.testing.assert_array_equal(np.asarray(node.data[0]), image)
    assert [level.shape for level in node.data] == [(2, 301, 515), (2, 151, 258), (2, 76, 129)]
    assert node.metadata["channel_names"] == ["density", "flux"]
    scale, translation = node.metadata["coordinateTransformations"][0]
    assert scale["scale"] == [1, 3.125, 6.25]
    assert translation["translation"] == [0, 8000, -1200]


def blocks(image, operation):
    """Two by two pixels at a time, one block after the other."""
    n_z, n_x = ((length + 1) // 2 for length in image.shape[-2:])
    small = np.empty((*image.shape[:-2], n_z, n_x))
    for z in range(n_z):
        for x in range(n_x):
            small[..., z, x] = operation(image[..., 2 * z : 2 * z + 2, 2 * x : 2 * x + 2], axis=(-2, -1))
    return small


@settings(max_examples=40, deadline=None)
@given(n_z=st.integers(1, 7), n_x=st.integers(1, 7), seed=st.integers(0, 2**32 - 1), share=st.floats(0, 1))
def test_halving_is_the_mean_and_the_maximum_of_what_is_there(n_z, n_x, seed, share):
    rng = np.random.default_rng(seed)
    image = rng.normal(size=(2, n_z, n_x)).astype(np.float32)
    image[rng.random(image.shape) < share] = np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of four NaN
        mean, highest = blocks(image, np.nanmean), blocks(image, np.nanmax)
    np.testing.assert_allclose(halved(image, "mean"), mean, rtol=1e-6, atol=1e-7)
    np.testing.assert_array_equal(halved(image, "max"), highest)
    assert halved(image, "mean").dtype == halved(image, "max").dtype == np.float32


def test_the_mean_of_integers_is_rounded():
    np.testing.assert_array_equal(halved(np.array([[1, 2, 5], [2, 2, 6]], np.uint8), "mean"), [[2, 6]])


@pytest.mark.parametrize("write", [write_ome_tiff, write_ome_zarr])
@pytest.mark.parametrize(
    ("image", "changed", "message"),
    [
        (counts((5,)), {}, "image: shape"),
        (counts((0, 5)), {}, "image: shape"),
        (counts((4, 5), np.int64), {}, "dtype int64"),
        (counts((4, 5), np.complex64), {}, "dtype complex64"),
        (counts((4, 5)), {"pixel_size": (1e-6, 0.0)}, "pixel_size"),
        (counts((4, 5)), {"origin": (np.nan, 0.0)}, "origin"),
        (counts((2, 4, 5)), {"channel_names": ["one"]}, "channel_names: 1 for 2"),
        (counts((2, 400, 5)), {"reduction": "median"}, "reduction: 'median'"),
    ],
)
def test_wrong_input_is_refused_and_writes_nothing(tmp_path, write, image, changed, message):
    more = {"pyramid": True} if write is write_ome_tiff else {}
    with pytest.raises(InputError, match=message):
        write(tmp_path / "a.ome.tif", image, **{**RECORD, **more, **changed})
    assert list(tmp_path.iterdir()) == []


def test_wrong_colors_are_refused(tmp_path):
    for colors in (["FFF"], ["FFFFFF"] * 3, ["00FF0G", "FFFFFF"]):
        with pytest.raises(InputError, match="colors"):
            write_ome_zarr(tmp_path / "a.ome.zarr", counts(), colors=colors, **RECORD)
