"""Stage 1: a vessel graph, synthetic or from a file, cut to a cube and dilated to rat scale."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np

from ulmpipe.figures.vessels import vessel_figure
from ulmpipe.io.graph_store import write_graph
from ulmpipe.io.stores import complete_or_absent, provenance, write_json
from ulmpipe.randomness import generator
from ulmpipe.stages._parameters import Parameters
from ulmpipe.vessels.cleaning import CleaningStep, clean_graph
from ulmpipe.vessels.graph import VesselGraph, check_graph, cut_cube, dilate
from ulmpipe.vessels.morphometry import morphometry as measure
from ulmpipe.vessels.readers import read_graph
from ulmpipe.vessels.synthetic import synthetic_cortex


def run(parameters: Parameters, *, graph: Path, morphometry: Path, picture: Path) -> None:
    """Make one volume's graph, its morphometry and its picture."""
    native, steps = _native_graph(parameters)
    check_graph(native, source=f"graphs.{parameters['name']}")
    made = provenance("vessel_graph", parameters, *_files(parameters))
    dilated = dilate(native, parameters["dilation"])
    steps = [*steps, CleaningStep.of(f"dilated {parameters['dilation']:g} times", dilated)]
    for step in steps:
        print(step)
    write_graph(graph, dilated, provenance=made)
    measured = measure(native, side=parameters["cube"])
    # JSON has no NaN
    table = {name: value if np.isfinite(value) else None for name, value in measured.items()}
    cleaning = [asdict(step) for step in steps]
    write_json(morphometry, {"morphometry": table, "cleaning": cleaning, "provenance": made})
    figure = vessel_figure(dilated, title=parameters["name"])
    with complete_or_absent(picture) as temporary:
        figure.savefig(temporary)


def _files(parameters: Parameters) -> list[str]:
    source = parameters["graph"]
    return (
        [source[name] for name in ("path", "edges") if source.get(name)] if source["source"] == "file" else []
    )


def _native_graph(parameters: Parameters) -> tuple[VesselGraph, list[CleaningStep]]:
    """The graph that is dilated, and what was done to it if it comes from a file."""
    source, side = parameters["graph"], parameters["cube"]
    if source["source"] == "synthetic":
        return synthetic_cortex(generator(parameters["seed"], "graph", source["seed"]), side=side), []
    graph, steps = clean_graph(
        read_graph(
            source["path"],
            voxel_size=source["voxel_size"],
            connected=False,
            **{name: source.get(name) for name in ("format", "edges", "index_base")},
        ),
        **parameters["cleaning"],
        source=source["path"],
    )
    cut = cut_cube(graph, side=side)
    return cut, [*steps, CleaningStep.of("densest cube cut out", cut)]
