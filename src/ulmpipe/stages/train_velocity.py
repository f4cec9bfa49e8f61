"""Velocities on the tracks: the network of phase 2 is trained on with a head for them; only if asked for."""

from __future__ import annotations

import logging
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ulmpipe.figures.curves import loss_figure
from ulmpipe.io.stores import alone, complete_or_absent, identity_of, open_store, provenance, write_json
from ulmpipe.memory import keep_freed_memory
from ulmpipe.network.checkpoint import Row
from ulmpipe.network.dataset import Augmentation, VelocityDataset
from ulmpipe.network.inference import save_weights
from ulmpipe.network.schedule import TrainingSettings
from ulmpipe.network.velocity import COLUMNS, build_velocity_network, train_velocity
from ulmpipe.stages._curves import Curves, begin
from ulmpipe.stages._parameters import Parameters
from ulmpipe.stages._training_sets import Blocks, Memory, in_its_precision
from ulmpipe.stages._velocities import in_metres
from ulmpipe.stages._weights import load_trained

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def run(
    parameters: Parameters,
    *,
    blocks: list[Path],
    velocities: list[Path],
    validation: list[Path],
    validation_velocities: list[Path],
    weights: Path,
    checkpoints: Path,
    model: Path,
    description: Path,
    history: Path,
    curves: Path,
    so_far: Path,
    threads: int,
    memory_mb: int = 4000,
) -> None:
    """Train from the `weights` of the tracking network. A killed training goes on from its last epoch.

    After every epoch its curves are drawn at `so_far`, their numbers beside it.
    """
    import torch

    keep_freed_memory()
    torch.set_num_threads(threads)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    section = parameters["velocity"]
    network = build_velocity_network(
        parameters["network"]["name"], seed=parameters["seed"], frozen=section["frozen_trunk"]
    )
    parameters = in_its_precision(parameters, network)
    load_trained(network.trunk, weights, parameters)
    memory = Memory(memory_mb)
    made = provenance(
        "train_velocity", parameters, *blocks, *velocities, *validation, *validation_velocities, weights
    )
    fingerprint = identity_of(made)
    checkpoint = checkpoints / f"velocity_{fingerprint}.pt"
    drawn = Curves(COLUMNS, _figure)
    begin(checkpoint, so_far)
    with alone(checkpoint):  # the next run must see a training that outlived its own
        rows = train_velocity(
            network,
            _data_set(
                parameters,
                blocks,
                velocities,
                memory,
                augmentation=Augmentation(**parameters["augmentation"]),
            ),
            _data_set(parameters, validation, validation_velocities, memory, augmentation=None),
            settings=TrainingSettings(
                precision=parameters["network"]["precision"],
                **{name: section[name] for name in ("n_epochs", "batch_size", "learning_rate")},
            ),
            checkpoint_path=checkpoint,
            fingerprint=fingerprint,
            on_epoch=partial(drawn.show, so_far=so_far),
        )
    drawn.write(rows, table=history, picture=curves)
    write_json(description, {"history": rows, "threads": threads, "provenance": made})
    with complete_or_absent(model) as temporary:
        save_weights(network, temporary, metadata=made)


def _figure(rows: list[Row]) -> Figure:
    return loss_figure(
        {"velocity": rows},
        score="validation_reversed",
        label="reversed",
        meaning="directions more than a right angle off",
    )


def _data_set(
    parameters: Parameters,
    stores: list[Path],
    velocities: list[Path],
    memory: Memory,
    *,
    augmentation: Augmentation | None,
) -> VelocityDataset:
    seen = parameters["network"]["input"]
    opened = [open_store(store, seen, "tracks") for store in stores]
    targets = [open_store(store, "velocity") for store in velocities]
    return VelocityDataset(
        [Blocks(store[seen], memory) for store in opened],
        [Blocks(store["tracks"], memory) for store in opened],
        [Blocks(store["velocity"], memory, read=in_metres) for store in targets],
        augmentation=augmentation,
        seed=parameters["seed"],
        phase="velocity",
    )
