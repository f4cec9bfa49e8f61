"""Every value of the configuration: what it is and what it may be.

The models below are the single source: `config/config.yaml` gives the defaults, `workflow/schemas/config.schema.json`
and `docs/configuration.md` are generated from here (``python -m ulmpipe.configuration``), and a test keeps them in
step.
"""

from __future__ import annotations

from itertools import pairwise
from math import ceil, inf, pi
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError, model_validator

from ulmpipe.acoustics.named_probes import probe_figures, probe_names
from ulmpipe.displacement import TISSUE_ERROR, count_states
from ulmpipe.errors import InputError
from ulmpipe.evaluation.regions import LEAST_SIDE
from ulmpipe.targets import FRAMES_OF_A_PART

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
SLIDING_WINDOW = 32  # pixels, as `ulmpipe.network.infer_sliding` has it
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]


class _Section(BaseModel):
    """A part of the configuration: no unknown keys, no silent conversions."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Volumes(_Section):
    """Which vessel graphs are used for what, and what is cut out of them."""

    train: list[Name] = Field(min_length=1, description="names of the graphs the network learns from")
    test: Name = Field(
        description="name of the graph the acquisitions are made of; the network never sees it"
    )
    cube: Positive = Field(description="side of the cube taken from each graph, native scale, m")
    dilation: Positive = Field(description="factor on positions and radii (2: mouse to rat)")


class SyntheticGraph(_Section):
    """A synthetic cortical network."""

    source: Literal["synthetic"] = Field(description="a synthetic cortical network")
    seed: Annotated[int, Field(ge=0)] = Field(description="which network")


class FileGraph(_Section):
    """A graph of your own."""

    source: Literal["file"] = Field(description="a graph of your own")
    path: str = Field(description="the file; docs/graphs.md lists the formats")
    voxel_size: Annotated[list[Positive], Field(min_length=3, max_length=3)] = Field(
        description="metres per unit of the file along x, y, z"
    )
    format: Literal["swc", "tpm", "graphml", "pajek", "secomb", "vtk", "csv"] | None = Field(
        default=None, description="of the file; null: found by its content"
    )
    edges: str | None = Field(default=None, description="csv: the table of edges")
    index_base: Literal[0, 1] | None = Field(
        default=None, description="csv: what row numbers of nodes count from, where nodes have no ids"
    )


class Cleaning(_Section):
    """Of graphs from files, before a cube is cut out of them."""

    least_share: Annotated[float, Field(ge=0, le=1)] = Field(
        description="of the length that the largest connected piece, which alone is kept, must hold; 1: no specks"
    )
    spur_radii: NotNegative = Field(
        description="vessels to an open end, shorter than so many radii of the vessel they leave, go; 0 keeps all"
    )
    longest_edge: Positive | None = Field(
        description="branches get nodes at equal steps of at most this, native scale, m; null: as in the file"
    )


class VelocityLaw(_Section):
    """Centreline speed against native diameter: ln v[mm/s] = exponent · ln d[µm] + intercept."""

    exponent: Finite = Field(description="of ln v[mm/s] = exponent · ln d[µm] + intercept")
    intercept: Finite = Field(description="of the same law")
    minimum: NotNegative = Field(default=0.0, description="least centreline speed, m/s; 0: the bare law")


class Pulsatility(_Section):
    """The heartbeat in the speed of the blood."""

    amplitude: Annotated[float, Field(ge=0, lt=1)] = Field(
        description="of the sine, over the mean speed; 0: steady"
    )
    frequency: Positive = Field(description="Hz")


class Flow(_Section):
    """How bubbles move with the blood."""

    speed: Literal["law", "table", "flow"] = Field(
        description="on a vessel's axis: by the law of its diameter, by the table, or by solved flow and perfusion"
    )
    velocity_law: VelocityLaw = Field(description="centreline speed against native diameter (Hingot 2019)")
    velocity_table: list[Annotated[list[Positive], Field(min_length=2, max_length=2)]] | None = Field(
        description="pairs of native diameter, m, and centreline speed, m/s, diameters rising"
    )
    perfusion: Positive = Field(
        description="blood per tissue volume and time, 1/s; 1/60 is 100 ml/100 ml/min"
    )
    haematocrit: Annotated[float, Field(ge=0, le=0.9)] | None = Field(
        description="apparent viscosity then depends on the diameter (Pries 1994); null: the same in all vessels"
    )
    profile_exponent: Positive = Field(
        description="n of the profile 1 - (r/R)^n: 2 is a parabola, more is blunter"
    )
    wall_floor: Annotated[float, Field(ge=0, le=1)] = Field(description="least value of that profile")
    bubble_radius: NotNegative = Field(
        description="bubbles enter no vessel of a smaller native radius, and keep off the wall, m; 0: no such limit"
    )
    pulsatility: Pulsatility

    @model_validator(mode="after")
    def _a_table_is_there(self) -> Self:
        if self.speed == "table" and not self.velocity_table:
            raise ValueError("velocity_table: none, expected pairs of diameter and speed for speed: table")
        return self


def _a_name_or_every_figure(schema: dict[str, Any]) -> None:
    schema["anyOf"] = [{"required": ["name"]}, {"required": schema.pop("required")}]


class ProbeSection(_Section):
    """The linear array: one that is known by name, or all of its figures; a figure overrides the named probe's.

    The name is not part of what is passed on: stages depend on the figures alone.
    """

    model_config = ConfigDict(json_schema_extra=_a_name_or_every_figure)

    name: str | None = Field(
        default=None,
        exclude=True,
        description=f"whose figures hold where none is given below: {', '.join(probe_names())}; "
        "null: every figure is given",
    )
    n_elements: Count = Field(description="elements of the linear array")
    pitch: Positive = Field(description="distance between element centres, m")
    width: Positive = Field(description="element width, m")
    height: Annotated[float, Field(gt=0)] = Field(
        description="element height (elevation aperture), m; .inf is the model in two dimensions"
    )
    elevation_focus: Positive = Field(description="m")
    center_frequency: Positive = Field(description="Hz")
    bandwidth: Annotated[float, Field(gt=0, lt=2)] = Field(
        description="-6 dB pulse-echo, fraction of the centre frequency"
    )
    baffle: Literal["soft", "rigid"] = Field(description="element directivity: soft has cos θ")

    @model_validator(mode="before")
    @classmethod
    def _with_figures_of_the_name(cls, content: Any) -> Any:
        if not isinstance(content, dict) or content.get("name") is None:
            return content
        try:
            return probe_figures(content["name"]) | content
        except InputError as error:
            raise ValueError(str(error).removeprefix("probe ")) from None

    @model_validator(mode="after")
    def _elements_fit(self) -> Self:
        if self.width > self.pitch:
            raise ValueError(f"width: {self.width} m is more than the pitch, {self.pitch} m")
        return self


class Sequence(_Section):
    """What is transmitted, and how it is sampled."""

    angles_deg: list[Annotated[float, Field(gt=-60, lt=60)]] = Field(
        min_length=1, description="plane waves of a frame, degrees"
    )
    transmit_frequency: Positive = Field(description="Hz")
    n_cycles: Positive = Field(description="of the transmitted pulse")
    pulse_repetition_frequency: Positive = Field(
        description="Hz; sets the time between the angles of a frame"
    )
    frame_rate: Positive = Field(description="compounded frames per second, Hz")
    frames_per_block: Annotated[int, Field(ge=16)] = Field(description="to train on, a multiple of 16")
    sampling_frequency: Positive = Field(description="of the complex IQ samples, Hz")
    demodulation_frequency: Positive = Field(description="Hz")

    @model_validator(mode="after")
    def _angles_fit_in_a_frame(self) -> Self:
        if len(self.angles_deg) / self.pulse_repetition_frequency > 1.0000001 / self.frame_rate:
            raise ValueError(
                f"frame_rate: {self.frame_rate} Hz: {len(self.angles_deg)} angles at "
                f"{self.pulse_repetition_frequency} Hz do not fit in a frame"
            )
        return self


class Medium(_Section):
    """What the waves run through."""

    speed_of_sound: Positive = Field(description="m/s")
    attenuation: NotNegative = Field(description="dB/cm/MHz")


class BubbleSizes(_Section):
    """How strongly bubbles reflect."""

    reflectivity: Literal["uniform", "size_distribution"] = Field(
        description="1 for all, or (radius / median_radius)^reflectivity_exponent; what follows is for the latter"
    )
    median_radius: Positive = Field(description="of a log-normal distribution by number, m")
    radius_spread: Annotated[float, Field(gt=1, allow_inf_nan=False)] = Field(
        description="geometric standard deviation of the radius, a factor"
    )
    largest_radius: Positive | None = Field(description="where the distribution is cut, m; null: nowhere")
    reflectivity_exponent: Positive = Field(
        description="1 for bubbles above their resonance, 3 for bubbles below"
    )

    @model_validator(mode="after")
    def _half_of_them_are_left(self) -> Self:
        if self.largest_radius is not None and self.largest_radius <= self.median_radius:
            raise ValueError(
                f"largest_radius: {self.largest_radius:g} m: expected more than the median_radius, "
                f"{self.median_radius:g} m, or null"
            )
        return self


class Noise(_Section):
    """Of the receiver."""

    snr_db: Finite | None = Field(
        description="peak echo of a bubble at the elevation focus over the noise RMS, IQ samples of one element, dB; "
        "null: no noise"
    )
    band: Literal["sampled", "probe"] = Field(
        description="white over the band of the samples, or shaped by the probe's one-way response; the same RMS"
    )


class Beamforming(_Section):
    """Delay-and-sum on a square grid."""

    pixel: Positive = Field(description="m")
    f_number: NotNegative = Field(description="receive aperture; 0 is the full aperture")
    apodization: Literal["rectangular", "tukey", "hann"] = Field(
        description="window over the receive aperture; tukey tapers its outer half"
    )
    lens_correction: bool = Field(
        description="take account of the elevation lens, which shifts depths by micrometres out of its focus"
    )
    oversampling: Count = Field(description="of the IQ samples before linear interpolation")


OddSize = Annotated[int, Field(ge=3, le=63)]


class Correlation(_Section):
    """Images as networks see them, and their correlation with the point spread function."""

    point_spread_shape: Annotated[list[OddSize], Field(min_length=2, max_length=2)] = Field(
        description="z, x; pixels, odd"
    )
    regularization: Positive = Field(description="fraction of the block's RMS below which correlation fades")
    scale_window: Count = Field(
        description="pixels; filtered images are divided by their RMS in such a window around each pixel"
    )

    @model_validator(mode="after")
    def _odd(self) -> Self:
        if any(size % 2 == 0 for size in self.point_spread_shape):
            raise ValueError(f"point_spread_shape: {self.point_spread_shape}: both sizes must be odd")
        return self


class ClutterFilter(_Section):
    """Singular value decomposition over a block, and filters over its frames."""

    n_removed: Annotated[int, Field(ge=0)] | Literal["double_decay", "similarity", "frequency"] = Field(
        description="largest singular components removed, 0 removes none; or what tells it of each block: the bend of "
        "its singular values, the likeness of spatial vectors, the frequency of temporal ones"
    )
    tissue_frequency: Positive = Field(
        description="largest mean frequency of a component of tissue, for n_removed: frequency, Hz"
    )
    cut_noise: bool = Field(
        description="also remove components no stronger than noise; only where each block tells n_removed"
    )
    method: Literal["exact", "randomized"] = Field(
        description="randomized is faster for large images and a fixed n_removed"
    )
    slowest: Positive | None = Field(
        description="axial speed below which nothing is kept, m/s; null: no limit"
    )
    fastest: Positive | None = Field(
        description="axial speed above which nothing is kept, m/s; null: no limit"
    )
    direction: Literal["both", "towards", "away"] = Field(description="of what is kept, seen from the probe")

    @model_validator(mode="after")
    def _noise_is_told(self) -> Self:
        if self.cut_noise and isinstance(self.n_removed, int):
            raise ValueError(
                f"cut_noise: true: expected n_removed to be double_decay, similarity or frequency, not {self.n_removed}"
            )
        if self.slowest is not None and self.fastest is not None and self.slowest >= self.fastest:
            raise ValueError(f"slowest: {self.slowest}: expected less than fastest, {self.fastest}")
        return self


class Tissue(_Section):
    """What scatters besides bubbles, in training blocks and acquisitions alike."""

    reflectivity_db: Finite | None = Field(
        description="RMS reflectivity of a scatterer over that of a bubble, dB; null: no tissue"
    )
    density_per_mm3: Positive = Field(description="scatterers per mm³")
    motion_amplitude: NotNegative = Field(description="of the motion within a block, m")
    motion_frequency: Positive = Field(description="Hz")
    margin: NotNegative = Field(description="of scatterers and bubbles simulated around the imaged field, m")
    n_states: Annotated[int, Field(ge=2, le=32)] = Field(
        description="displacement states simulated per block"
    )


class TrainingSet(_Section):
    """Blocks of the training volumes."""

    window: Annotated[int, Field(ge=16, multiple_of=4)] = Field(description="pixels, centred in the volume")
    blocks_per_volume: Count = Field(description="training blocks of each volume")
    validation_blocks_per_volume: Count = Field(description="blocks held out of each training volume")
    blocks_per_shard: Count = Field(description="blocks one job makes; no influence on the results")
    blocks_per_rotation: Count = Field(description="blocks that share one random 3-D rotation of the volume")
    validation_blocks_per_rotation: Count = Field(
        description="validation blocks that share one rotation, accumulated together to choose thresholds"
    )
    concentrations_per_mm3: list[Positive] = Field(
        min_length=1, description="each training block has one of these, at random"
    )
    validation_concentrations_per_mm3: list[Positive] = Field(
        min_length=1,
        description="bubbles/mm³ of the validation blocks, rotation by rotation in turn; each gets its own thresholds",
    )
    lateral_offset: NotNegative = Field(
        description="largest random displacement of a volume from the axis, m"
    )
    depth_offset: NotNegative = Field(description="largest random displacement from the elevation focus, m")
    echo_spread_db: NotNegative = Field(
        description="largest random change of the bubbles' echoes in a training block over noise and tissue, dB"
    )

    @model_validator(mode="after")
    def _all_concentrations_occur(self) -> Self:
        n_rotations = ceil(self.validation_blocks_per_volume / self.validation_blocks_per_rotation)
        wanted = self.validation_concentrations_per_mm3
        if n_rotations < len(wanted):
            raise ValueError(
                f"validation_concentrations_per_mm3 {wanted}: the {self.validation_blocks_per_volume} validation "
                f"blocks of a volume have {n_rotations} rotations of {self.validation_blocks_per_rotation}; expected "
                "one for each concentration at least"
            )
        return self


class Targets(_Section):
    """What the network learns and what everything is measured against."""

    upsampling: Literal[8] = Field(description="fine pixels per pixel; the networks rebuild 8")
    dilation_radius: Annotated[int, Field(ge=0)] = Field(description="fine pixels, phase 1 only")
    visibility_db: Annotated[float, Field(lt=0)] | None = Field(
        description="least elevation gain of a bubble in a target, dB; null: all"
    )


class Network(_Section):
    """Which network, and its arithmetic."""

    name: Literal["light", "wide", "complex", "paper"] = Field(
        description="light: ours, for CPUs; wide: larger, at twice its cost; "
        "complex: light with a complex first half; paper: the paper's"
    )
    input: Literal["filtered", "correlation"] = Field(
        description="what it looks at: images behind the clutter filter, or their correlation maps, as in the paper"
    )
    precision: Literal["auto", "bfloat16", "float32"] = Field(
        description="of the convolutions; auto: bfloat16 on GPUs and x86 processors that multiply it, else float32"
    )


class Phase(_Section):
    """One training phase."""

    n_epochs: Count = Field(description="passes over the training set")
    batch_size: Count = Field(description="blocks a step")
    optimizer: Literal["muon", "adam"] = Field(description="adam is the paper's")
    learning_rate: Positive = Field(description="largest rate of the optimizer")
    schedule: Literal["cosine", "multistep"] = Field(description="cosine with warm-up, or the paper's steps")
    milestones: list[Count] = Field(
        default=[], description="epochs after which multistep multiplies the rate by 0.1"
    )
    loss: Literal["bce_dice", "dice", "generalised_dice", "nll", "weighted_nll", "focal"] = Field(
        description="dice is the paper's"
    )
    window_weight: Annotated[float, Field(ge=0)] = Field(
        default=0.0,
        description="of the loss of what was passed in each 128 frames, beside that of all; paper has no such windows",
    )
    compile: bool = Field(
        default=False, description="on a GPU: torch.compile, a minute at the start for faster steps"
    )


class AugmentationSection(_Section):
    """Changes of a training block that give another one which could have been recorded, each made half of the time."""

    rotate_phase: bool = Field(description="a random phase for all echoes; exact")
    mirror_lateral: bool = Field(
        description="mirror in x; exact but for the order of the angles within a frame"
    )
    reverse_time: bool = Field(description="play backwards; the same remark")
    mirror_depth: bool = Field(
        description="mirror in z and conjugate; exact only for a point spread function symmetric in depth"
    )


class Training(_Section):
    """The two phases."""

    processes: Count = Field(
        description="that train together on one machine, each with a GPU of its own, on its share of every batch"
    )
    augmentation: AugmentationSection
    start: str = Field(
        description="of phase 2: phase_1, trained before it; pretrained: the network in models/; or a folder like "
        "that one, and phase 1 is left out"
    )
    phase_1: Phase = Field(description="on dilated targets")
    phase_2: Phase = Field(description="from the weights of `start`, on thin targets")

    @model_validator(mode="after")
    def _batches_are_shared(self) -> Self:
        for name, phase in (("phase_1", self.phase_1), ("phase_2", self.phase_2)):
            if phase.batch_size % self.processes:
                raise ValueError(
                    f"{name}.batch_size: {phase.batch_size}: expected a multiple of the {self.processes} processes"
                )
        return self


class Acquisition(_Section):
    """One acquisition of the phantom."""

    concentration_per_mm3: NotNegative = Field(description="bubbles/mm³; 0: before the bubbles came")
    n_blocks: Annotated[int, Field(ge=1)] = Field(description="data blocks")


class ImagedField(_Section):
    """What is imaged of channel data, centred on the middle of the probe."""

    width: Positive = Field(description="lateral, m")
    height: Positive = Field(description="along depth, m")
    depth: Positive = Field(description="of its middle, m")


class Recording(_Section):
    """An acquisition of a user's own."""

    recording: str = Field(
        description="a file, or a pattern such as data/block_*.mat; in place of `n_blocks` of a phantom"
    )
    kind: Literal["channel_data", "iq"] = Field(
        default="channel_data", description="what the files hold: what the elements received, or images"
    )
    format: Literal["verasonics", "pala", "must", "ustb", "zea", "plain"] | None = Field(
        default=None, description="of the files; null: found by their content"
    )
    description: dict[str, Any] = Field(
        default={}, description="what the files do not say, see docs/recordings.md"
    )
    field: ImagedField | None = Field(
        default=None, description="what is imaged of channel data; images are taken as they are"
    )
    probe: dict[str, Any] = Field(
        default={},
        description="what differs from the section `probe`; a name takes all of that probe's figures",
    )
    sequence: dict[str, Any] = Field(default={}, description="what differs from the section `sequence`")
    carrier: bool = Field(
        default=True, description="whether the phase of images turns with depth, as delay-and-sum leaves it"
    )
    concentration_per_mm3: Positive = Field(
        default=10.0, description="a guess in bubbles/mm³, which chooses among the thresholds"
    )
    n_blocks: Count | None = Field(default=None, description="the first so many; null: all")
    faulty_blocks: Literal["refuse", "skip"] = Field(
        default="refuse",
        description="blocks that cannot be read, or have samples that are not finite or frames that were dropped",
    )

    @model_validator(mode="after")
    def _field_of_channel_data(self) -> Self:
        if (self.field is None) == (self.kind == "channel_data"):
            expected = "missing: expected width, height and depth" if self.field is None else "expected none"
            raise ValueError(f"field: {expected} for kind {self.kind}")
        return self


OwnSection = Literal["probe", "sequence"]
OWN_SECTIONS: tuple[OwnSection, ...] = get_args(OwnSection)


def _kind_of_acquisition(entry: Any) -> str:
    recorded = "recording" in entry if isinstance(entry, dict) else isinstance(entry, Recording)
    return ACQUISITION_TAGS[int(recorded)]


ACQUISITION_TAGS = ("of a phantom", "of one's own")  # no words of a configuration


class PeriodicMotion(_Section):
    """To and fro, along the line that the tissue moves on."""

    amplitude: NotNegative = Field(description="m; 0: none")
    frequency: Positive = Field(description="Hz")


class Phantom(_Section):
    """The wide field that stands in for an animal."""

    mosaic: Annotated[list[Count], Field(min_length=2, max_length=2)] = Field(
        description="volumes side by side in z and x"
    )
    block_interval: Positive = Field(description="s")
    largest_drift: NotNegative = Field(description="rigid, over the acquisition, m")
    drift_memory_blocks: Positive = Field(description="blocks over which the drift keeps its direction")
    breathing: PeriodicMotion = Field(description="of the tissue, beside its motion in training blocks")
    heartbeat: PeriodicMotion = Field(description="of the tissue too")
    reference_bubbles_per_mm3: Positive = Field(
        description="bubbles × blocks per mm³ that make the long ground truth"
    )


class Motion(_Section):
    """Of the tissue within a block."""

    within_blocks: Literal["none", "rigid"] = Field(
        description="rigid: every frame is brought to where the middle one lay, before the clutter filter"
    )
    frames_together: Count = Field(
        description="whose envelopes are averaged to find it; they should move by less than a pixel meanwhile"
    )


class Registration(_Section):
    """Of the blocks, before they are summed."""

    images: Literal["tissue", "power_doppler", "localizations", "none"] = Field(
        description="what is compared: unfiltered, after the clutter filter, or the expert's bubbles; none: blocks lie "
        "where they are"
    )
    lags: Count = Field(
        description="tissue only: earlier blocks that each is compared with, beside the first"
    )
    tolerance: Positive = Field(
        description="tissue only: by which a block's comparisons may disagree before it is flagged, pixels"
    )
    likely_step: Positive = Field(
        description="of bubbles only: what a block usually moves from the one before, pixels"
    )
    largest_shift: Count = Field(description="of bubbles only: from the middle of all blocks, pixels")
    outliers: Literal["keep", "interpolate"] = Field(
        description="interpolate: flagged blocks are put on the line between those around them"
    )


class Inference(_Section):
    """How the network runs over a field wider than a training window."""

    mode: Literal["whole_field", "sliding_window"] = Field(description="sliding_window is the paper's")
    tile: Annotated[int, Field(ge=16, multiple_of=4)] | None = Field(
        description="whole_field only: largest side of the pieces a wide field is computed in, pixels; it bounds the "
        "memory and changes no result; null: one piece"
    )
    stride: Count = Field(description="pixels, sliding window only")
    crop: Annotated[int, Field(ge=0)] = Field(
        description="fine pixels cut off each window's output, sliding window only"
    )
    mirrored: bool = Field(
        description="mean of the answers to the field and to its lateral mirror image; twice the time"
    )


class Classes(_Section):
    """Bubbles that are scored apart."""

    fast_speed: Positive = Field(description="a bubble is fast above and slow below, m/s")
    capillary_speed: Positive = Field(description="a bubble is capillary below, m/s")
    elevation_edges: Annotated[list[NotNegative], Field(min_length=2)] = Field(
        description="edges of the classes by distance from the image plane, ascending, m"
    )

    @model_validator(mode="after")
    def _ascending(self) -> Self:
        if any(b <= a for a, b in pairwise(self.elevation_edges)):
            raise ValueError(f"elevation_edges {self.elevation_edges}: expected ascending distances")
        return self


class Evaluation(_Section):
    """How maps are compared with the ground truth."""

    border: Annotated[int, Field(ge=0)] = Field(description="fine pixels left out on every side")
    tolerance: Annotated[int, Field(ge=0)] = Field(description="fine pixels, of the tolerant scores")


class Tracking(_Section):
    """The expert's bubbles followed from frame to frame."""

    scored: bool = Field(
        description="whether the expert may count tracks instead of localizations, if validation blocks find it better"
    )
    threshold: Annotated[float, Field(gt=0, lt=1)] = Field(
        description="least |χ| of a localization that is linked; how bright a track must be, validation blocks say. "
        "Where localizations count, theirs"
    )
    largest_speed: Positive = Field(description="between two frames, m/s")
    largest_gap: Annotated[int, Field(ge=0)] = Field(description="frames in a row that a track may miss")
    minimum_length: Annotated[int, Field(ge=2)] = Field(description="localizations of a track")
    memory: Annotated[int, Field(ge=0)] = Field(
        description="steps whose mean velocity says where a bubble is looked for; 0: where it was last seen"
    )
    smoothing_window: Annotated[int, Field(ge=1)] = Field(description="frames, odd; 1: none")

    @model_validator(mode="after")
    def _window_is_odd(self) -> Self:
        if self.smoothing_window % 2 == 0:
            raise ValueError(f"smoothing_window: {self.smoothing_window}: expected an odd number of frames")
        return self


class TrackMapsSection(_Section):
    """Maps of the tracks."""

    pixel: Positive = Field(description="m")
    minimum_points: Annotated[int, Field(ge=2)] = Field(description="frames of a track that is drawn")


class VelocitySection(_Section):
    """The network of velocities."""

    frozen_trunk: bool = Field(
        description="whether the tracking network stays as it is and the head alone is trained: half the time, less "
        "exact"
    )
    n_epochs: Count = Field(description="passes over the training set")
    batch_size: Count = Field(description="blocks a step")
    learning_rate: Positive = Field(description="largest rate of Adam; cosine with warm-up")
    packed: bool = Field(description="whether `results/model/packed` takes the network of velocities along")


class Measures(_Section):
    """Measures of the images without a vessel picked by hand."""

    splits: Count = Field(description="random halves of the blocks, and of the tracks, for the resolution")
    ring_smoothing: Count = Field(description="rings of spatial frequency averaged over, odd")
    mask_smoothing: NotNegative = Field(
        description="standard deviation over which images are smoothed before vessels are found in them, fine pixels"
    )
    regions: dict[Name, Annotated[list[Finite], Field(min_length=4, max_length=4)]] = Field(
        description="measured apart, by a name of your choice: x of its left and right, z of its top and bottom, m"
    )
    tile: Positive | None = Field(
        description="side of the tiles whose resolution is mapped, half overlapping, m; null: no such map"
    )
    least_tracks: NotNegative = Field(
        description="a fine pixel wide and straight across a tile; one with fewer pixels of tracks has no resolution"
    )

    @model_validator(mode="after")
    def _regions_ascend(self) -> Self:
        for name, (left, right, top, bottom) in self.regions.items():
            if not (left < right and top < bottom):
                raise ValueError(
                    f"regions.{name}: {[left, right, top, bottom]}: expected x left < right and z top < bottom"
                )
        return self

    @model_validator(mode="after")
    def _rings_are_odd(self) -> Self:
        if self.ring_smoothing % 2 == 0:
            raise ValueError(f"ring_smoothing: {self.ring_smoothing}: expected an odd number of rings")
        return self


class Comparison(_Section):
    """Pictures of several acquisitions side by side, as figures 6 and 7 of Milecki et al. 2021."""

    acquisitions: list[Name] | None = Field(
        description="names, the first above; null: all but the one without bubbles"
    )
    without_bubbles: Name | None = Field(
        description="an acquisition before the bubbles came, if there is one"
    )
    region: Annotated[list[Finite], Field(min_length=4, max_length=4)] | None = Field(
        description="what is shown larger: x of its left and right, z of its top and bottom, m; null: the whole field"
    )
    line: (
        Annotated[
            list[Annotated[list[Finite], Field(min_length=2, max_length=2)]],
            Field(min_length=2, max_length=2),
        ]
        | None
    ) = Field(description="x and z of the ends of a line along which profiles are drawn, m; null: none")
    strip: NotNegative = Field(description="width over which a profile is averaged, m")


class FigureSection(_Section):
    """How pictures look."""

    colormap: str = Field(description="matplotlib's name of the colour map")
    compression: Literal["log", "gamma"] = Field(description="of the counts in maps of tracks")


class Configuration(_Section):
    """Everything a run depends on."""

    seed: Annotated[int, Field(ge=0)] = Field(description="of every random number")
    results: str = Field(description="folder of all outputs")
    volumes: Volumes
    graphs: dict[Name, Annotated[SyntheticGraph | FileGraph, Field(discriminator="source")]] = Field(
        description="by a name of your choice; which are used says `volumes`"
    )
    cleaning: Cleaning
    flow: Flow
    probe: ProbeSection
    sequence: Sequence
    medium: Medium
    bubbles: BubbleSizes
    noise: Noise
    beamforming: Beamforming
    correlation: Correlation
    clutter_filter: ClutterFilter
    tissue: Tissue
    training_set: TrainingSet
    targets: Targets
    model: str = Field(
        description="train: the network is trained; pretrained: the one in models/ is used; or a folder like that one"
    )
    network: Network
    training: Training
    acquisitions: dict[
        Name,
        Annotated[
            Annotated[Acquisition, Tag(ACQUISITION_TAGS[0])] | Annotated[Recording, Tag(ACQUISITION_TAGS[1])],
            Discriminator(_kind_of_acquisition),
        ],
    ] = Field(
        min_length=1,
        description="by the name its files have; those of the phantom are cuts of the densest of them",
    )
    phantom: Phantom
    motion: Motion
    registration: Registration
    inference: Inference
    classes: Classes
    evaluation: Evaluation
    tracking: Tracking
    track_maps: TrackMapsSection
    velocity: VelocitySection
    measures: Measures
    comparison: Comparison
    figure: FigureSection

    @model_validator(mode="after")
    def _names_exist(self) -> Self:
        for field, name in [
            *(("volumes.train", name) for name in self.volumes.train),
            ("volumes.test", self.volumes.test),
        ]:
            if name not in self.graphs:
                raise ValueError(f"{field}: '{name}' is not one of graphs: {', '.join(self.graphs)}")
        if self.volumes.test in self.volumes.train:
            raise ValueError(
                f"volumes.test: '{self.volumes.test}' is also in volumes.train; expected a graph of its own"
            )
        if len(set(self.volumes.train)) < len(self.volumes.train):
            raise ValueError(f"volumes.train: {self.volumes.train}: a name stands twice")
        return self

    @model_validator(mode="after")
    def _compared_are_acquisitions(self) -> Self:
        compared = self.comparison
        for field, names in (
            ("acquisitions", compared.acquisitions or []),
            ("without_bubbles", [compared.without_bubbles] if compared.without_bubbles else []),
        ):
            for name in names:
                if name not in self.acquisitions:
                    raise ValueError(
                        f"comparison.{field}: '{name}' is not one of acquisitions: {', '.join(self.acquisitions)}"
                    )
        return self

    @model_validator(mode="after")
    def _sizes_fit(self) -> Self:
        window = self.training_set.window
        width, side = window * self.beamforming.pixel, self.volumes.cube * self.volumes.dilation
        if width > side * 1.000001:
            raise ValueError(
                f"training_set.window: {window} pixels ({width * 1e3:g} mm) are wider than the volume "
                f"({side * 1e3:g} mm)"
            )
        fine = max(self.beamforming.pixel / self.targets.upsampling, self.track_maps.pixel)
        for field, sides in (
            *((f"regions.{name}", (b - a, d - c)) for name, (a, b, c, d) in self.measures.regions.items()),
            ("tile", (self.measures.tile or inf,)),
        ):
            if min(sides) < LEAST_SIDE * fine * 0.999999:
                raise ValueError(
                    f"measures.{field}: {min(sides):g} m wide, expected at least {LEAST_SIDE} fine pixels "
                    f"({LEAST_SIDE * fine:g} m) for the Fourier ring correlation"
                )
        for field, removed, size in (
            ("evaluation.border", self.evaluation.border, window),
            ("inference.crop", self.inference.crop, SLIDING_WINDOW),
        ):
            if 2 * removed >= size * self.targets.upsampling:
                raise ValueError(
                    f"{field}: {removed} fine pixels on both sides leave nothing of a window of {size} pixels"
                )
        return self

    @model_validator(mode="after")
    def _training_blocks_are_whole_parts(self) -> Self:
        if self.model == "train" and self.sequence.frames_per_block % FRAMES_OF_A_PART:
            raise ValueError(
                f"sequence.frames_per_block: {self.sequence.frames_per_block}: expected a multiple of "
                f"{FRAMES_OF_A_PART} to train on; recordings may have others (acquisitions.NAME.sequence), and all may "
                "with model: pretrained"
            )
        return self

    @model_validator(mode="after")
    def _training_blocks_have_one_scale(self) -> Self:
        window, wanted = self.training_set.window, self.correlation.scale_window
        if wanted < window:
            raise ValueError(
                f"correlation.scale_window: {wanted} pixels; expected at least {window}, those of a training block "
                "(training_set.window)"
            )
        return self

    @model_validator(mode="after")
    def _windows_cover_the_field(self) -> Self:
        inference, window = self.inference, self.training_set.window
        if inference.mode != "sliding_window":
            return self
        if window < SLIDING_WINDOW:
            raise ValueError(
                f"training_set.window: {window} pixels; expected at least {SLIDING_WINDOW}, those of the sliding "
                "windows that inference.mode asks for"
            )
        upsampling = self.targets.upsampling
        widest = (SLIDING_WINDOW * upsampling - 2 * inference.crop) // upsampling
        if inference.stride > widest:
            raise ValueError(
                f"inference.stride: {inference.stride} pixels; expected at most {widest}, since windows of "
                f"{SLIDING_WINDOW} less inference.crop on both sides leave gaps otherwise"
            )
        return self

    @model_validator(mode="after")
    def _states_suffice(self) -> Self:
        if self.tissue.reflectivity_db is None:
            return self
        highest_frequency = self.probe.center_frequency * (1 + self.probe.bandwidth / 2)
        n_states = count_states(
            half_range=self.tissue.motion_amplitude,
            wavenumber=2 * pi * highest_frequency / self.medium.speed_of_sound,
            error=TISSUE_ERROR,
        )
        if self.tissue.n_states < n_states:
            raise ValueError(
                f"tissue.motion_amplitude: {self.tissue.motion_amplitude:g} m needs tissue.n_states of at least "
                f"{n_states}, not {self.tissue.n_states}"
            )
        return self

    @model_validator(mode="after")
    def _recordings_are_described(self) -> Self:
        for name in self.recordings:
            for section in OWN_SECTIONS:
                try:
                    self.section_of(name, section)
                except ValidationError as error:
                    wrong = error.errors()[0]
                    field = ".".join(["acquisitions", name, section, *map(str, wrong["loc"])])
                    raise ValueError(f"{field}: {wrong['input']!r}: {wrong['msg']}") from None
        return self

    def section_of(self, acquisition: str, section: OwnSection) -> ProbeSection | Sequence:
        """Probe or sequence of an acquisition: the configuration's, but for what a recording has of its own."""
        shared = getattr(self, section)
        each = self.acquisitions[acquisition]
        own = getattr(each, section) if isinstance(each, Recording) else {}
        if not own:
            return shared
        return type(shared).model_validate(own if "name" in own else shared.model_dump() | own)

    @property
    def phantoms(self) -> dict[str, Acquisition]:
        """Acquisitions that are simulated."""
        return {name: each for name, each in self.acquisitions.items() if isinstance(each, Acquisition)}

    @property
    def recordings(self) -> dict[str, Recording]:
        """Acquisitions that a user made."""
        return {name: each for name, each in self.acquisitions.items() if isinstance(each, Recording)}

    @property
    def largest_concentration_per_mm3(self) -> float:
        """Concentration of the dense distribution of which every phantom's acquisition is a nested subset."""
        return max((each.concentration_per_mm3 for each in self.phantoms.values()), default=0.0)
