"""The named probes as text for a terminal: ``ulmpipe probes``."""

from __future__ import annotations

from ulmpipe.acoustics.named_probes import named_probe, probe_description, probe_names

TITLES = ("probe", "elements", "pitch", "width", "height", "focus", "frequency", "bandwidth", "baffle")
UNITS = ("", "", "mm", "mm", "mm", "mm", "MHz", "%", "")


def probe_table() -> str:
    """A row of figures for each named probe, then where the figures come from."""
    rows = [TITLES, UNITS, *(_row(name) for name in probe_names())]
    table = ["".join(f"{text:<12}" for text in row).rstrip() for row in rows]
    return "\n".join([*table, "", *(_source(name) for name in probe_names())])


def _row(name: str) -> tuple[str, ...]:
    probe = named_probe(name)
    lengths = (probe.pitch, probe.width, probe.height, probe.elevation_focus)
    figures = (*(1e3 * length for length in lengths), 1e-6 * probe.center_frequency, 100 * probe.bandwidth)
    return (name, str(probe.n_elements), *(f"{figure:g}" for figure in figures), probe.baffle)


def _source(name: str) -> str:
    description = probe_description(name)
    return f"{name}: {description['source']}. {description['note']}"
