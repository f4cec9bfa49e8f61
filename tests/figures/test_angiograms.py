"""Figures hold what they promise: one scale, to scale, nothing on top of anything else."""

from __future__ import annotations

import io
from itertools import combinations

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.image import AxesImage
from matplotlib.text import Text

from ulmpipe.errors import InputError
from ulmpipe.figures import (
    Panel,
    angiogram_figure,
    block_figure,
    drift_figure,
    score_caption,
    threshold_figure,
)

EXTENT = (-1e-3, 1e-3, 7.2e-3, 8.8e-3)
SCORES = {
    "per_block": {"dice": 0.352, "matthews": 0.34},
    "accumulated_same_blocks": {"dice": 0.611, "matthews": 0.402},
}


def panels():
    rng = np.random.default_rng(0)
    truth, network = rng.poisson(0.4, (2, 512, 640))
    power = rng.random((64, 80)) + 1e-6
    caption = score_caption(SCORES)
    return [
        Panel("ground truth", truth),
        Panel("power Doppler", power, "power"),
        Panel("expert ULM", 4 * truth, caption=caption),
        Panel("network", network, caption=caption),
    ]


def draw(figure):
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return canvas


def texts(figure):
    """Every visible text of a figure with its box in pixels."""
    canvas = draw(figure)
    artists = {
        id(text): text
        for text in figure.findobj(lambda artist: isinstance(artist, Text))
        if text.get_visible() and text.get_text().strip()
    }
    return [(text.get_text(), text.get_window_extent(canvas.get_renderer())) for text in artists.values()]


def images(figure):
    return [axes.get_images()[0] for axes in figure.axes if axes.get_images()]


@pytest.mark.parametrize("extent", [EXTENT, (-2e-3, 2e-3, 6e-3, 10e-3), (-0.4e-3, 0.4e-3, 7.6e-3, 8.4e-3)])
def test_no_text_of_the_angiogram_covers_another_or_leaves_the_page(extent):
    figure = angiogram_figure(panels(), extent=extent, title="20 MB/mm³, 8 blocks of 512 frames")
    page = figure.bbox
    boxes = texts(figure)
    assert any(text.endswith(("µm", " mm")) for text, _ in boxes)
    for text, box in boxes:
        assert page.x0 <= box.x0, text
        assert box.x1 <= page.x1, text
        assert page.y0 <= box.y0, text
        assert box.y1 <= page.y1, text
    for (first, one), (second, other) in combinations(boxes, 2):
        assert not one.overlaps(other), f"{first!r} and {second!r}"


def test_all_densities_share_one_scale_and_power_has_its_own():
    truth, power, expert, network = images(
        angiogram_figure(panels(), extent=EXTENT, title="", dynamic_range=25, colormap="magma")
    )
    assert truth.get_clim() == expert.get_clim() == network.get_clim()
    assert power.get_array().min() >= -25
    measured = next(panel.image for panel in panels() if panel.quantity == "power")
    noise = 10 * np.log10(np.percentile(measured[measured > 0], 5) / measured.max())
    assert power.get_clim() == (pytest.approx(max(-25, noise)), 0)
    assert {image.get_cmap().name for image in (truth, power, expert, network)} == {"magma"}
    np.testing.assert_allclose(truth.get_array(), np.log1p(panels()[0].image))
    assert truth.get_clim()[1] == pytest.approx(np.log1p(np.percentile(4 * truth_counts(), 99.5)))


def test_powers_share_a_scale_on_which_pixels_without_any_do_not_count():
    rng = np.random.default_rng(4)
    before = rng.uniform(1.0, 1.2, (40, 40))
    after = before.copy()
    after[10:20, 10:20] = 100.0
    for image in (before, after):
        image[:, :8] = 0  # what no frame shows
    shown = images(
        angiogram_figure(
            [Panel("before", before, "power"), Panel("after", after, "power")], extent=EXTENT, title=""
        )
    )
    noise = 10 * np.log10(np.percentile(after[after > 0], 5) / 100.0)
    for image in shown:
        assert image.get_clim() == (pytest.approx(noise), 0)
    assert shown[0].get_array().max() < -18  # black beside the vessels


def truth_counts():
    counts = panels()[0].image
    return counts[counts > 0]


def test_panels_are_to_scale_in_millimetres():
    figure = angiogram_figure(panels(), extent=EXTENT, title="")
    for axes in figure.axes:
        if any(isinstance(image, AxesImage) for image in axes.get_images()):
            assert axes.get_xlim() == (-1, 1)
            assert axes.get_ylim() == (8.8, 7.2)
            box = axes.get_window_extent()
            assert box.width / box.height == pytest.approx(2 / 1.6, rel=1e-3)


def test_an_empty_angiogram_is_drawn_too():
    empty = [Panel("network", np.zeros((16, 16), int)), Panel("power", np.zeros((4, 4)), "power")]
    draw(angiogram_figure(empty, extent=EXTENT, title="nothing"))


def test_the_same_figure_gives_the_same_bytes():
    pictures = []
    for _ in range(2):
        buffer = io.BytesIO()
        angiogram_figure(panels()[:1], extent=EXTENT, title="", dpi=60).savefig(buffer, format="png")
        pictures.append(buffer.getvalue())
    assert pictures[0] == pictures[1]


def test_scores_are_captioned_in_per_cent():
    caption = score_caption(SCORES)
    assert "Dice per block 35.2 %" in caption
    assert "accumulated 61.1 %" in caption
    assert "accumulated 40.2 %" in caption


def test_wrong_input_is_refused():
    with pytest.raises(InputError, match="panels"):
        angiogram_figure([], extent=EXTENT, title="")
    with pytest.raises(InputError, match="extent"):
        angiogram_figure(panels(), extent=(1, -1, 0, 1), title="")


def test_the_other_figures_keep_their_texts_apart():
    rng = np.random.default_rng(1)
    true = np.cumsum(rng.normal(size=(8, 2)), axis=0)
    thresholds = np.linspace(0.1, 0.9, 9)
    tracks = rng.random((256, 256)) < 0.05
    chi = rng.normal(size=(5, 32, 32)).astype(np.complex64)
    figures = (
        drift_figure(true + 0.01, true, pixel_size=25e-6),
        threshold_figure(
            {"expert": (thresholds, 0.5 * thresholds)}, title="sweep", chosen={"expert": (0.9, 0.45)}
        ),
        block_figure(
            chi,
            tracks,
            tracks,
            rng.random((256, 256)),
            extent=(-0.4e-3, 0.4e-3, 7.6e-3, 8.4e-3),
            title="a block",
        ),
    )
    for figure in figures:
        for (first, one), (second, other) in combinations(texts(figure), 2):
            assert not one.overlaps(other), f"{first!r} and {second!r}"
    assert "error 0.25 µm in depth" in figures[0].axes[0].get_title()
