"""Deep-learning ultrasound localization microscopy, from vessel graphs to registered angiograms."""

__version__ = "0.1.0"
