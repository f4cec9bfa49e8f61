# The checked configuration, and what each rule is given of it.
import json
import math
from pathlib import Path

from snakemake.exceptions import WorkflowError

from ulmpipe.configuration import check_configuration
from ulmpipe.errors import InputError
from ulmpipe.fingerprint import source_fingerprint

try:
    settings = check_configuration(config, source=" + ".join(map(str, workflow.configfiles)))
    for name in [*settings.volumes.train, settings.volumes.test]:
        graph = settings.graphs[name]
        if graph.source == "file" and not Path(graph.path).is_file():
            raise InputError(f"graphs.{name}.path: '{graph.path}': no such file; expected an SWC or TPM .mat file")
except InputError as error:
    raise WorkflowError(str(error)) from None

results = settings.results
sections = settings.model_dump(mode="json")


wildcard_constraints:
    volume="|".join([*settings.volumes.train, settings.volumes.test]),
    acquisition="|".join(settings.acquisitions),
    shard=r"\d{3}|validation",
    phase="phase_1|phase_2",
    method="expert|network",


def given(stage, *names, **more):
    """The one params value of a rule: its own sections of the configuration and the fingerprint of its source.

    One value, because Snakemake compares params as a set: two numbers that change places would go unnoticed.
    """
    content = {name: sections[name] for name in names} | more
    content["source"] = source_fingerprint(f"ulmpipe.stages.{stage}")
    return json.dumps(content, sort_keys=True)


def volume_index(volume):
    """Place of a volume in the configuration, which its random numbers depend on."""
    return list(settings.graphs).index(volume)


def n_volume_blocks(volume):
    """Blocks of bubble trajectories a volume needs."""
    if volume in settings.volumes.train:
        return settings.training_set.blocks_per_volume + settings.training_set.validation_blocks_per_volume
    return max(each.n_blocks for each in settings.acquisitions.values()) * math.prod(settings.phantom.mosaic)


def volume_concentration(volume):
    """Concentration of the dense distribution of which the blocks of a volume are subsets, bubbles/mm³."""
    if volume in settings.volumes.train:
        blocks = settings.training_set
        return max(*blocks.concentrations_per_mm3, blocks.validation_concentration_per_mm3)
    return settings.largest_concentration_per_mm3
