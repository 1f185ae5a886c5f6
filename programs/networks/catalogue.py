"""The networks by name, at full size: with their scales, as they were calibrated, and an input."""

import json
from pathlib import Path

import numpy as np

from programs.networks.bert_layer import bert_layer
from programs.networks.graph import Network
from programs.networks.mobilenet_v2 import mobilenet_v2
from programs.networks.resnet50 import resnet50
from programs.networks.vgg16 import vgg16

NETWORKS = {"resnet50": resnet50, "mobilenet_v2": mobilenet_v2, "vgg16": vgg16, "bert_layer": bert_layer}
# How many cores of hanguang800 a network takes, where its weights do not fit one.
CORES = {"vgg16": 4}
# Written by programs/training/networks.py.
SCALES = Path(__file__).with_name("scales.json")


def network(name: str) -> Network:
    """Return a network of NETWORKS at full size."""
    return NETWORKS[name]().scaled(json.loads(SCALES.read_text())[name])


def seeded_input(network: Network, seed: int = 2) -> np.ndarray:
    """Return an input for a network: normal noise, whose deviation is a third of the range."""
    noise = np.random.default_rng(seed).normal(0, 127 / 3, network.tensors[network.input].shape)
    return np.clip(np.rint(noise), -128, 127).astype(np.int8)
