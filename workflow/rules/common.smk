# The checked configuration, what each rule is given of it, and what a user reads when a run fails.
import atexit
import json
import math
import os
import re
import shutil
import sys
from contextlib import ExitStack
from pathlib import Path

from ulmpipe.configuration import check_configuration, check_graph_files, read_yaml
from ulmpipe.configuration.models import MADE_FOR, OPERATING_POINTS, VELOCITY_WEIGHTS, WEIGHTS, read_model, unlike
from ulmpipe.configuration.sections import OWN_SECTIONS
from ulmpipe.errors import InputError
from ulmpipe.fingerprint import source_fingerprint
from ulmpipe.io.stores import alone, check_nobody_writes
from ulmpipe.targets import FRAMES_OF_A_PART

try:
    # the last of the command line's files ranks highest, the Snakefile's own lowest
    files = {str(path): read_yaml(path) for path in [*workflow.configfiles[-1:], *workflow.configfiles[:-1]]}
    settings = check_configuration(config, files=files)
    check_graph_files(settings, files=files)
except InputError as error:
    sys.exit(f"error in the configuration:\n{error}")

if not os.access(".snakemake" if os.path.exists(".snakemake") else ".", os.W_OK):
    sys.exit(f"error: nothing can be written in {os.getcwd()}, where Snakemake keeps its records")

results = settings.results
sections = settings.model_dump(mode="json")

# whose bubbles: a training volume's, or the test volume's for one acquisition
bubble_sets = {volume: None for volume in settings.volumes.train} | {
    f"{settings.volumes.test}_{acquisition}": acquisition for acquisition in settings.phantoms
}


def model_of(key, folder, *, own):
    """Folder and description of the model that a key of the configuration names."""
    if folder == "pretrained":
        folder = Path(os.path.relpath(workflow.basedir), "models/cortex")
    if Path(folder).resolve().is_relative_to(Path(results, "model").resolve()):
        sys.exit(
            f"error in the configuration:\n{key}: '{folder}' is where this run's own training is packed; "
            "expected another folder: copy it, or give this run another `results`"
        )
    try:
        return Path(folder), read_model(Path(folder), key=key, own=own)
    except InputError as error:
        sys.exit(f"error in the configuration:\n{error}")


# weights and thresholds of this run's training, or of a model from elsewhere
weights = f"{results}/model/phase_2.safetensors"
velocity_weights = f"{results}/model/velocity.safetensors"
operating_points = f"{results}/model/operating_points.json"
trained_frames = velocity_trained_frames = settings.sequence.frames_per_block
made_for = {section: sections[section] for section in OWN_SECTIONS}
if settings.model != "train":
    folder, model = model_of("model", settings.model, own="train")
    for key, value in (("name", model["network"]), ("input", model["input"])):
        sections["network"][key] = config["network"][key] = value  # rules and report
    weights, operating_points = str(folder / WEIGHTS), str(folder / OPERATING_POINTS)
    made_for = model["made_for"]
    trained_frames = made_for["sequence"]["frames_per_block"]
    if (folder / VELOCITY_WEIGHTS).is_file():
        velocity_weights, velocity_trained_frames = str(folder / VELOCITY_WEIGHTS), trained_frames

# what differs from it
shared_by_all = list(unlike(sections, made_for))
for line in shared_by_all:
    print(f"note: {line}", file=sys.stderr)
for name in settings.recordings:
    own = {section: settings.section_of(name, section).model_dump(mode="json") for section in OWN_SECTIONS}
    for line in sorted(set(unlike(sections | own, made_for)) - set(shared_by_all)):
        print(f"note: acquisitions.{name}.{line}", file=sys.stderr)

# what phase 2 begins with
start = f"{results}/model/phase_1.safetensors"
if settings.model == "train" and settings.training.start != "phase_1":
    folder, model = model_of("training.start", settings.training.start, own="phase_1")
    for key in ("name", "input"):
        own, other = sections["network"][key], model["network" if key == "name" else key]
        if own != other:
            sys.exit(f"error in the configuration:\nnetwork.{key}: {own}; expected {other}, as training.start has")
    start = str(folder / WEIGHTS)


def one_of(names):
    """Pattern of a wildcard that has one of these values; of none, if there are none."""
    return "|".join(map(re.escape, names)) or "(?!)"


wildcard_constraints:
    volume=one_of([*settings.volumes.train, settings.volumes.test]),
    acquisition=one_of(settings.acquisitions),
    bubbles=one_of(bubble_sets),
    shard=r"\d{3}|validation",
    phase="phase_1|phase_2",
    method="expert|network",
    own=f"(?:{'|'.join(['', *(re.escape(f'_{name}') for name in settings.recordings)])})",


def without(name, *keys):
    """A section of the configuration, less what a stage does not use."""
    return {key: value for key, value in sections[name].items() if key not in keys}


def given(stage, *names, **more):
    """The one params value of a rule: its own sections of the configuration and the fingerprint of its source.

    One value, because Snakemake compares params as a set: two numbers that change places would go unnoticed.
    """
    content = {name: sections[name] for name in names} | more
    # how a loss curve is drawn is no reason to train again
    ignoring = () if stage in ("render", "track_maps", "measure", "compare") else ("figures",)
    content["source"] = source_fingerprint(f"ulmpipe.stages.{stage}", ignoring=ignoring)
    return json.dumps(content, sort_keys=True)


# ---------------------------------------------------------------- vessels and bubbles


def graph_file(wildcards):
    graph = settings.graphs[wildcards.volume]
    return [path for path in (graph.path, graph.edges) if path] if graph.source == "file" else []


# Each acquisition has bubbles of its own, drawn alike: a concentration is a cut of the densest, and more blocks of one
# acquisition are no reason to make another one again.
def bubble_volume(bubbles):
    return bubbles if bubble_sets[bubbles] is None else settings.volumes.test


def n_bubble_blocks(bubbles):
    acquisition = bubble_sets[bubbles]
    if acquisition is None:
        return settings.training_set.blocks_per_volume + settings.training_set.validation_blocks_per_volume
    return settings.acquisitions[acquisition].n_blocks * math.prod(settings.phantom.mosaic)


def largest_concentration(bubbles):
    if bubble_sets[bubbles] is None:
        blocks = settings.training_set
        return max(*blocks.concentrations_per_mm3, *blocks.validation_concentrations_per_mm3)
    return settings.largest_concentration_per_mm3


# ---------------------------------------------------------------- training


def shard_blocks(shard):
    """First block and number of blocks of a shard; the validation blocks follow the training blocks."""
    blocks = settings.training_set
    if shard == "validation":
        return blocks.blocks_per_volume, blocks.validation_blocks_per_volume
    first = int(shard) * blocks.blocks_per_shard
    return first, min(blocks.blocks_per_shard, blocks.blocks_per_volume - first)


def training_set_of(shard):
    """What a shard depends on: how the validation blocks are chosen is no reason to make training blocks again."""
    others = ["blocks_per_shard", "validation_blocks_per_volume"]
    if shard != "validation":
        others += ["validation_blocks_per_rotation", "validation_concentrations_per_mm3"]
    return without("training_set", *others)


def maps_for(*methods, side=math.inf):
    """Which maps of a block are kept, with their settings: what the network sees, and what the expert does.

    In blocks of a `side` (pixels) a wider window of the images' scale is no other.
    """
    seen = {"network": sections["network"]["input"], "expert": "correlation"}
    settings_of = {
        "filtered": {"window": min(settings.correlation.scale_window, side)},
        "correlation": {"regularization": settings.correlation.regularization},
    }
    return {seen[method]: settings_of[seen[method]] for method in methods}


def bubble_sizes():
    """The section `bubbles`; a size that no bubble has is no reason to make anything again."""
    if settings.bubbles.reflectivity == "uniform":
        return {"reflectivity": "uniform"}
    return sections["bubbles"]


def training_shards(volume):
    n_shards = math.ceil(settings.training_set.blocks_per_volume / settings.training_set.blocks_per_shard)
    return [f"{results}/training/{volume}/{shard:03d}.zarr" for shard in range(n_shards)]


training_blocks_of_all = [shard for volume in settings.volumes.train for shard in training_shards(volume)]
validation_blocks_of_all = [f"{results}/training/{volume}/validation.zarr" for volume in settings.volumes.train]


# several processes train together, each on a GPU of its own
training_launcher = (
    "python -m"
    if settings.training.processes == 1
    else f"torchrun --standalone --nproc-per-node {settings.training.processes} -m"
)


def phase_parameters(wildcards):
    phase = sections["training"][wildcards.phase]
    if sections["network"]["name"] == "paper":
        phase = phase | {"window_weight": 0.0}  # it has no windows
    return given(
        "train",
        "seed",
        "network",
        phase=wildcards.phase,
        training=phase,
        augmentation=sections["training"]["augmentation"],
        dilation_radius=settings.targets.dilation_radius if wildcards.phase == "phase_1" else 0,
    )


# ---------------------------------------------------------------- velocities


def velocities_of(stores):
    """The stores of velocities beside stores of training blocks."""
    return [store.replace(".zarr", "_velocity.zarr") for store in stores]


def weights_with_velocities(wildcards):
    """Weights to train on from; said before anything is computed if the network has no velocities."""
    if sections["network"]["name"] == "paper":
        sys.exit("error in the configuration:\nnetwork.name: 'paper' has no velocities; expected light, wide or complex")
    if settings.sequence.frames_per_block % FRAMES_OF_A_PART:
        sys.exit(
            f"error in the configuration:\nsequence.frames_per_block: {settings.sequence.frames_per_block}: expected a "
            f"multiple of {FRAMES_OF_A_PART}, since the model has no velocities and this run trains them"
        )
    return weights


# ---------------------------------------------------------------- acquisitions


compared = settings.comparison.acquisitions or [
    name for name in settings.acquisitions if name != settings.comparison.without_bubbles
]


def probe_of(acquisition):
    return settings.section_of(acquisition, "probe").model_dump(mode="json")


def sequence_of(acquisition):
    return settings.section_of(acquisition, "sequence").model_dump(mode="json")


# recordings with a probe or a sequence of their own have a point spread function of their own, too
point_spreads = {"": None} | {
    f"_{name}": name for name, recording in settings.recordings.items() if recording.probe or recording.sequence
}


def point_spread_of(wildcards):
    own = f"_{wildcards.acquisition}"
    return f"{results}/point_spread{own if own in point_spreads else ''}.zarr"


def point_spread_parameters(wildcards):
    acquisition = point_spreads[wildcards.own]
    own = {} if acquisition is None else {"probe": probe_of(acquisition), "sequence": sequence_of(acquisition)}
    shape = {"point_spread_shape": sections["correlation"]["point_spread_shape"]}
    return given("point_spread", "probe", "sequence", "medium", "beamforming", correlation=shape, **own)


def block_interval(acquisition):
    """Seconds from block to block; of a recording at least those of a block."""
    if acquisition in settings.phantoms:
        return settings.phantom.block_interval
    sequence = sequence_of(acquisition)
    return sequence["frames_per_block"] / sequence["frame_rate"]


def recordings_of(kind):
    return [name for name, recording in settings.recordings.items() if recording.kind == kind]


def recorded_files(wildcards):
    from ulmpipe.io.recordings.recording import find_files

    try:
        return list(map(str, find_files(settings.recordings[wildcards.acquisition].recording)))
    except InputError as error:
        sys.exit(f"error in the configuration:\nacquisitions.{wildcards.acquisition}.recording: {error}")


def of_phantom(path):
    """An input that there is of a phantom's acquisition only: nobody knows the truth of a recording."""
    return lambda wildcards: path.format(**wildcards) if wildcards.acquisition in settings.phantoms else []


def images_to_register(wildcards):
    """The store whose images are compared: of tissue and power Doppler, or of the expert's bubbles."""
    if settings.registration.images == "localizations":
        return f"{results}/detections/{wildcards.acquisition}_expert.zarr"
    return f"{results}/correlation/{wildcards.acquisition}.zarr"


def acquisition_given(stage, wildcards, *names, **more):
    return given(
        stage,
        "seed",
        "sequence",
        "phantom",
        *names,
        name=settings.volumes.test,
        side=settings.volumes.cube * settings.volumes.dilation,
        acquisition=sections["acquisitions"][wildcards.acquisition],
        largest_concentration_per_mm3=settings.largest_concentration_per_mm3,
        **more,
    )


# ---------------------------------------------------------------- the beginning and the end of a run


def own_results():
    """Refuse a second run in the same folder; unlike Snakemake's own lock, this one ends with a killed run.

    A stage that outlived its run keeps the next one from starting: Snakemake would forget that its output is of a run
    that was killed, and take it for one of the configuration as it is by then.
    """
    lock = ExitStack()
    atexit.register(lock.close)
    try:
        check_nobody_writes(results)
        lock.enter_context(alone(Path(results) / "run"))
    except InputError as error:
        sys.exit(f"error: another run is at work in {results} ({error})")
    except OSError as error:
        sys.exit(f"error: nothing can be written in {results} ({error})")
    atexit.register(say_if_the_disk_is_full)


def say_last_why_jobs_failed(snakemake_log):
    """Print the messages of failed jobs once more when Snakemake has ended: the last line is what a user reads."""
    text = Path(snakemake_log).read_text()
    messages = dict.fromkeys(why_it_failed(log) for log in re.findall(r"log: (\S+) \(check log", text))
    if messages:
        atexit.unregister(say_if_the_disk_is_full)
        atexit.register(print, *messages, sep="\n", file=sys.stderr)


def why_it_failed(log):
    """The last line of a failed job that says it; where the job could say nothing, what is most likely."""
    lines = Path(log).read_text().splitlines() if Path(log).is_file() else []
    known = [line for line in lines if line.startswith("error in ")]
    if known:
        return known[-1]
    likely = "no space left on the disk" if disk_is_full() else "killed, perhaps for want of memory"
    others = [line for line in lines if " % |" not in line] or [likely]
    return f"a job ended unexpectedly, see {log}: {others[-1]}"


def say_if_the_disk_is_full():
    """On a full disk Snakemake ends in the middle, with words of its own about its records."""
    if disk_is_full():
        print("error: no space left on the disk", file=sys.stderr)


def disk_is_full():
    """Whether there is no room in the results or among Snakemake's records."""
    return any(shutil.disk_usage(folder).free < 2**16 for folder in (".", results) if Path(folder).is_dir())
