"""Stages 8 and 9: the two training phases, the same code on dilated and on thin targets."""

from __future__ import annotations

import logging
import os
import sys
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ulmpipe.figures.curves import loss_figure
from ulmpipe.figures.examples import examples_figure
from ulmpipe.io.stores import alone, complete_or_absent, identity_of, open_store, provenance, write_json
from ulmpipe.memory import keep_freed_memory
from ulmpipe.network.architectures import build_network
from ulmpipe.network.dataset import Augmentation, TrackDataset
from ulmpipe.network.devices import is_first_process
from ulmpipe.network.inference import save_weights
from ulmpipe.network.schedule import TrainingSettings
from ulmpipe.network.training import COLUMNS, Trained, train
from ulmpipe.stages._curves import Curves, begin
from ulmpipe.stages._parameters import Parameters
from ulmpipe.stages._training_sets import Blocks, Memory, in_its_precision
from ulmpipe.stages._weights import load_trained
from ulmpipe.targets import dilate_tracks

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_log = logging.getLogger(__name__)


def run(
    parameters: Parameters,
    *,
    blocks: list[Path],
    validation: list[Path],
    checkpoints: Path,
    model: Path,
    description: Path,
    history: Path,
    curves: Path,
    examples: Path,
    so_far: Path,
    threads: int,
    memory_mb: int = 4500,
    weights: Path | None = None,
) -> None:
    """Train one phase; phase 2 starts from the `weights` of phase 1. A killed training goes on from its last epoch.

    After every epoch its curves are drawn at `so_far`, their numbers beside it. Under torchrun its processes train
    together and share threads and memory; the first one writes.
    """
    import torch

    keep_freed_memory()
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    torch.set_num_threads(max(1, threads // processes))
    level = logging.INFO if is_first_process() else logging.ERROR  # all would say the same
    logging.basicConfig(level=level, format="%(message)s", stream=sys.stderr)
    network = build_network(parameters["network"]["name"], seed=parameters["seed"])
    parameters = in_its_precision(parameters, network)
    if weights is not None:
        load_trained(network, weights, parameters)
    settings = TrainingSettings(
        precision=parameters["network"]["precision"], **_settings(parameters["training"])
    )
    memory = Memory(memory_mb // processes)
    made = provenance("train", parameters, *blocks, *validation, *([weights] if weights else []))
    # what a checkpoint must agree with: settings, source, training blocks and first weights
    fingerprint = identity_of(made)
    held_out = _data_set(parameters, validation, memory)
    learnt_from = _data_set(
        parameters,
        blocks,
        memory,
        windows=settings.window_weight > 0,
        augmentation=Augmentation(**parameters["augmentation"]),
    )
    checkpoint = checkpoints / f"{parameters['phase']}_{fingerprint}.pt"
    name = parameters["phase"].replace("_", " ")
    drawn = Curves(COLUMNS, lambda rows: loss_figure({name: rows}))
    if is_first_process():
        begin(checkpoint, so_far)
    # the next run must see a training that outlived its own
    with alone(checkpoint) if is_first_process() else nullcontext():
        trained = train(
            network,
            learnt_from,
            held_out,
            settings=settings,
            checkpoint_path=checkpoint,
            fingerprint=fingerprint,
            on_epoch=partial(drawn.show, so_far=so_far) if is_first_process() else None,
            description=parameters["phase"],
        )
    if not is_first_process():
        return
    drawn.write(trained.history, table=history, picture=curves)
    with complete_or_absent(examples) as temporary:
        _examples_of(held_out, trained, title=f"A validation block, {name}").savefig(temporary)
    write_json(description, {"history": trained.history, "threads": threads, "provenance": made})
    with complete_or_absent(model) as temporary:
        save_weights(network, temporary, metadata=made)


def _examples_of(held_out: TrackDataset, trained: Trained, *, title: str) -> Figure:
    maps, tracks = (part.numpy() for part in held_out[held_out.fullest()])
    return examples_figure(np.hypot(*maps), tracks[0] > 0, trained.examples, title=title)


def _settings(section: Parameters) -> dict[str, Any]:
    return {**section, "milestones": tuple(section["milestones"])}


def _data_set(
    parameters: Parameters,
    stores: list[Path],
    memory: Memory,
    *,
    windows: bool = False,
    augmentation: Augmentation | None = None,
) -> TrackDataset:
    seen = parameters["network"]["input"]
    timed = ["timed_tracks"] if windows else []
    opened = [open_store(store, seen, "tracks", *timed) for store in stores]
    dilated = partial(dilate_tracks, radius=parameters["dilation_radius"])
    return TrackDataset(
        [Blocks(store[seen], memory) for store in opened],
        [Blocks(store["tracks"], memory, dilated) for store in opened],
        windows=[Blocks(store["timed_tracks"], memory, dilated) for store in opened] if windows else None,
        augmentation=augmentation,
        seed=parameters["seed"],
        phase=parameters["phase"],
    )
