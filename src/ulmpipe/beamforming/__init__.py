"""Beamforming: from RF to IQ, from channel IQ to images by delay-and-sum, and the point spread function."""

from __future__ import annotations

from ulmpipe.beamforming.das import Grid, delay_and_sum
from ulmpipe.beamforming.demodulation import demodulate
from ulmpipe.beamforming.point_spread import point_spread_function

__all__ = ["Grid", "delay_and_sum", "demodulate", "point_spread_function"]
