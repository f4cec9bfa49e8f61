"""Input, target and answers side by side."""

from __future__ import annotations

import numpy as np

from ulmpipe.figures.examples import examples_figure


def test_the_panels_are_a_frame_the_maximum_the_target_and_the_answers() -> None:
    moduli = np.zeros((5, 3, 4))
    moduli[0, 0, 0], moduli[2, 1, 3] = 0.9, 0.5
    target = np.zeros((24, 32), dtype=bool)
    target[7, 9] = True
    answers = {epoch: np.full((24, 32), 10 * epoch, dtype=np.uint8) for epoch in (1, 2, 4)}
    figure = examples_figure(moduli, target, answers, title="A block")
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == ["input, frame 3", "largest over the frames", "target", "epoch 1", "epoch 2", "epoch 4"]
    images = [axes.get_images()[0] for axes in figure.axes]
    shown = [np.asarray(image.get_array()) for image in images]
    np.testing.assert_array_equal(shown[0], moduli[2])
    np.testing.assert_array_equal(shown[1], moduli.max(axis=0))
    assert images[0].get_clim() == images[1].get_clim() == (0, 0.9)  # alike, so that they can be compared
    np.testing.assert_array_equal(shown[2], target)
    assert images[5].get_clim() == (0, 255)
    assert shown[5][0, 0] == 40
