"""Networks from filtered images or correlation maps to tracks, their training and their use."""

from __future__ import annotations

from ulmpipe.network.architectures import NETWORKS, build_network
from ulmpipe.network.dataset import Augmentation, TrackDataset
from ulmpipe.network.inference import infer_field, infer_sliding, load_weights, save_weights
from ulmpipe.network.light import Light
from ulmpipe.network.losses import LOSSES
from ulmpipe.network.paper import DeepSTULM
from ulmpipe.network.schedule import TrainingSettings
from ulmpipe.network.training import train

__all__ = [
    "LOSSES",
    "NETWORKS",
    "Augmentation",
    "DeepSTULM",
    "Light",
    "TrackDataset",
    "TrainingSettings",
    "build_network",
    "infer_field",
    "infer_sliding",
    "load_weights",
    "save_weights",
    "train",
]
