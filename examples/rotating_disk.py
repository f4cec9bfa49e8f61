"""A real recording through our beamformer and through PyMUST's: B-mode and colour Doppler of a rotating disk.

Run: `python examples/rotating_disk.py --data PWI_disk.mat --output FOLDER`. Needs PyMUST (`pip install pymust`) and the
recording, `examples/data/PWI_disk.mat` of the PyMUST repository (github.com/creatis-ULTIM/PyMUST), which its package
does not contain. Prints how far the two are apart, one source of difference at a time, and the disk's rotation; writes
FOLDER/rotating_disk.png.

The recording: 32 unsteered plane waves on a disk of 2 cm that turns about an axis along y; a Verasonics scanner, 128
elements, 5 MHz, sampled at 4/3 of that. Madiena, Faurie, Porée, Garcia, "Color and vector flow imaging in parallel
ultrasound with sub-Nyquist sampling", IEEE TUFFC 65(5), 2018.
"""

from __future__ import annotations

import argparse
import io
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.io
from numpy.typing import NDArray

from ulmpipe.acoustics import PlaneWaves, Probe
from ulmpipe.beamforming import Grid, delay_and_sum, demodulate
from ulmpipe.doppler import doppler_velocity, nyquist_velocity
from ulmpipe.errors import InputError
from ulmpipe.figures.canvas import (
    BACKGROUND,
    FAINT,
    TEXT,
    dark_figure,
    dress,
    millimetre_extent,
    millimetre_ticks,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PIXEL = 0.1e-3  # m, and the field, as in PyMUST's example
LATERAL, DEPTH = (-12.5e-3, 12.5e-3), (10e-3, 35e-3)
DYNAMIC_RANGE = 40.0  # dB
DISK_RADIUS = 10e-3  # m, of the disk that was imaged
INSIDE = 0.9  # of that radius: where velocities are compared
DOPPLER_FLOOR = -20.0  # dB below the disk's echoes; weaker pixels are shown without velocity
RECORD_ENDS = 30  # samples that the low-pass sees beyond the record's ends from
DOPPLER_COLORS = ("#a8f0ff", "#2a8cff", "#0b2a7a", "#000000", "#7a120b", "#ff5a2a", "#ffe9a8")

Images = NDArray[np.complex64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Recording:
    """RF (frame, angle, element, sample) and what the scanner says about it, SI units."""

    rf: NDArray[np.float32]
    probe: Probe
    transmit: PlaneWaves
    start_time: float
    sampling_frequency: float
    demodulation_frequency: float
    bandwidth: float
    pulse_repetition_frequency: float
    speed_of_sound: float

    @property
    def doppler_settings(self) -> dict[str, float]:
        """Of `doppler_velocity` and `nyquist_velocity`."""
        return {
            "center_frequency": self.demodulation_frequency,
            "pulse_repetition_frequency": self.pulse_repetition_frequency,
            "speed_of_sound": self.speed_of_sound,
        }


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Of two series of images, see `difference`."""

    iq: float
    b_mode_relative: float
    b_mode_db: float
    velocity: float

    def __str__(self) -> str:
        return (
            f"IQ {100 * self.iq:7.3f} %   B-mode {100 * self.b_mode_relative:6.3f} % = {self.b_mode_db:5.3f} dB   "
            f"velocity {100 * self.velocity:7.4f} % of Nyquist"
        )


@dataclass(frozen=True, kw_only=True)
class Rotation:
    """Rigid rotation fitted to axial velocities, see `fit_rotation`."""

    rate: float
    axis: float
    correlation: float
    residual: float


def read_recording(path: Path) -> Recording:
    """Recording of a MAT file with `RF` (sample, element, frame) and PyMUST's `param`."""
    if not path.is_file():
        raise InputError(
            f"--data: {path}, expected PWI_disk.mat of the PyMUST repository (its examples/data)"
        )
    stored = scipy.io.loadmat(path, squeeze_me=True, struct_as_record=False)
    param = stored["param"]
    if np.any(param.TXdelay):
        raise InputError(f"{path}: param.TXdelay is not zero, expected unsteered plane waves")
    # The file says nothing of the elements' height, and beamforming needs nothing of it.
    probe = Probe(
        n_elements=int(param.Nelements),
        pitch=param.pitch,
        width=param.width,
        height=5e-3,
        elevation_focus=np.inf,
        center_frequency=float(param.fc),
        bandwidth=param.bandwidth / 100,
    )
    return Recording(
        rf=np.ascontiguousarray(stored["RF"].transpose(2, 1, 0)[:, None], dtype=np.float32),
        probe=probe,
        transmit=PlaneWaves(angles=(0.0,), transmit_frequency=float(param.fc), n_cycles=1),
        start_time=float(param.t0),
        sampling_frequency=float(param.fs),
        demodulation_frequency=float(param.fc),
        bandwidth=float(param.fc) * param.bandwidth / 100,
        pulse_repetition_frequency=float(param.PRF),
        speed_of_sound=float(param.c),
    )


def image_grid(pixel: float = PIXEL) -> Grid:
    """Field of PyMUST's example."""
    x, z = (start + pixel * np.arange(round((end - start) / pixel) + 1) for start, end in (LATERAL, DEPTH))
    return Grid(x=x, z=z)


# ---------------------------------------------------------------- ours
def iq_samples(recording: Recording) -> NDArray[np.complex64]:
    """IQ (frame, angle, element, sample) by `demodulate`."""
    return demodulate(
        recording.rf,
        start_time=recording.start_time,
        sampling_frequency=recording.sampling_frequency,
        demodulation_frequency=recording.demodulation_frequency,
        bandwidth=recording.bandwidth,
    )


def beamform(
    iq: NDArray[np.complex64], recording: Recording, grid: Grid, *, f_number: float, oversampling: int = 4
) -> Images:
    """Images (frame, z, x) by `delay_and_sum`."""
    return delay_and_sum(
        iq,
        grid,
        recording.probe,
        recording.transmit,
        start_time=recording.start_time,
        sampling_frequency=recording.sampling_frequency,
        demodulation_frequency=recording.demodulation_frequency,
        speed_of_sound=recording.speed_of_sound,
        f_number=f_number,
        oversampling=oversampling,
    )


def b_mode(images: Images) -> NDArray[np.float32]:
    """First frame in dB below its brightest pixel, nothing under the dynamic range."""
    envelope = np.abs(images[0])
    smallest = 10 ** (-DYNAMIC_RANGE / 20)
    return 20 * np.log10(np.maximum(envelope / envelope.max(), smallest))


# ---------------------------------------------------------------- PyMUST's
def pymust_parameters(recording: Recording, f_number: float | None = None) -> Any:
    """Its `Param`; without an f-number it chooses one by the elements' directivity."""
    import pymust

    param = pymust.utils.Param()
    param.fs, param.fc, param.c = (
        recording.sampling_frequency,
        recording.demodulation_frequency,
        recording.speed_of_sound,
    )
    param.pitch, param.width, param.radius = recording.probe.pitch, recording.probe.width, np.inf
    param.Nelements, param.TXdelay = recording.probe.n_elements, np.zeros((1, recording.probe.n_elements))
    param.bandwidth = 100 * recording.bandwidth / recording.demodulation_frequency
    param.t0, param.PRF, param.fnumber = (
        np.array([recording.start_time]),
        recording.pulse_repetition_frequency,
        f_number,
    )
    return param


def pymust_f_number(recording: Recording) -> float:
    """The receive f-number that PyMUST chooses for these elements."""
    import pymust

    param = pymust_parameters(recording)
    one_pixel = np.array([[0.0]]), np.array([[DEPTH[0]]])
    pymust.dasmtx(1j * np.array([recording.rf.shape[-1], recording.probe.n_elements]), *one_pixel, param)
    return float(param.fnumber)


def pymust_iq_samples(recording: Recording) -> NDArray[np.complex64]:
    """IQ by `pymust.rf2iq`, in our order of axes."""
    import pymust

    rf = recording.rf[:, 0].transpose(2, 1, 0).astype(np.float64)
    iq = pymust.rf2iq(rf, pymust_parameters(recording))
    return np.ascontiguousarray(iq.transpose(2, 1, 0)[:, None], dtype=np.complex64)


def pymust_beamform(
    iq: NDArray[np.complex64], recording: Recording, grid: Grid, *, f_number: float, method: str = "linear"
) -> Images:
    """Images (frame, z, x) by `pymust.dasmtx`; `method` is its interpolation."""
    import pymust

    n_frames, _, n_elements, n_samples = iq.shape
    x, z = np.meshgrid(grid.x, grid.z)
    size = 1j * np.array([n_samples, n_elements])
    matrix = pymust.dasmtx(size, x, z, pymust_parameters(recording, f_number), method).tocsr()
    images = (matrix @ iq.reshape(n_frames, -1).T).reshape(*x.shape, n_frames, order="F")
    return np.ascontiguousarray(np.moveaxis(images, -1, 0), dtype=np.complex64)


def pymust_velocity(images: Images, recording: Recording) -> NDArray[np.float32]:
    """Velocity (z, x) by `pymust.iq2doppler`."""
    import pymust

    velocity, _ = pymust.iq2doppler(np.moveaxis(images, 0, -1), pymust_parameters(recording))
    return np.asarray(velocity, dtype=np.float32)


# ---------------------------------------------------------------- measures
def mean_power_db(images: Images) -> NDArray[np.float32]:
    """Power over all frames, dB over the disk's: it fills half of the field, so its median is a quartile of that."""
    power = np.mean(np.abs(images) ** 2, axis=0)
    return 10 * np.log10(np.maximum(power / np.quantile(power, 0.75), 1e-12))


def disk_center(images: Images, grid: Grid) -> tuple[float, float]:
    """(x, z) of the centre of the pixels less than 6 dB below the disk's power, m."""
    z, x = np.nonzero(mean_power_db(images) > -6.0)
    return float(grid.x[x].mean()), float(grid.z[z].mean())


def inside_disk(center: tuple[float, float], grid: Grid) -> NDArray[np.bool_]:
    """Pixels well inside the disk, (z, x)."""
    return np.hypot(grid.x - center[0], grid.z[:, None] - center[1]) < INSIDE * DISK_RADIUS


def difference(ours: Images, theirs: Images, recording: Recording, inside: NDArray[np.bool_]) -> Difference:
    """How far two series of images are apart.

    Relative L2 of the complex images and of the displayed grey levels (dB above the floor), RMS of the latter in dB,
    and RMS of the velocities within the disk as a fraction of the Nyquist velocity; PyMUST's velocities by its own
    function, so that this one is compared too.
    """
    levels = b_mode(ours) + DYNAMIC_RANGE, b_mode(theirs) + DYNAMIC_RANGE
    limit = nyquist_velocity(**recording.doppler_settings)
    velocity = doppler_velocity(ours, **recording.doppler_settings) - pymust_velocity(theirs, recording)
    return Difference(
        iq=relative(ours, theirs),
        b_mode_relative=relative(*levels),
        b_mode_db=float(np.sqrt(np.mean((levels[0] - levels[1]) ** 2))),
        velocity=float(np.sqrt(np.mean(velocity[inside] ** 2))) / limit,
    )


def relative(found: NDArray[Any], expected: NDArray[Any]) -> float:
    """Relative L2 difference."""
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def fit_rotation(velocity: NDArray[np.float32], grid: Grid, inside: NDArray[np.bool_]) -> Rotation:
    """Line v = -rate·(x - axis) through the axial velocities inside the disk.

    In a rigid rotation the axial component depends on x alone, whatever the depth. `rate` in rad/s (positive from x
    to z), `axis` in m, the correlation of v with x, and the RMS residual in m/s.
    """
    x = np.broadcast_to(grid.x, inside.shape)[inside]
    v = velocity[inside].astype(np.float64)
    slope, offset = np.polyfit(x, v, 1)
    return Rotation(
        rate=-float(slope),
        axis=-float(offset / slope),
        correlation=abs(float(np.corrcoef(x, v)[0, 1])),
        residual=float(np.sqrt(np.mean((v - slope * x - offset) ** 2))),
    )


# ---------------------------------------------------------------- figure
def draw(ours: Images, theirs: Images, recording: Recording, grid: Grid) -> Figure:
    """B-mode above, velocity below: ours, PyMUST's, and the difference."""
    from matplotlib.colors import LinearSegmentedColormap

    signed = LinearSegmentedColormap.from_list("doppler", DOPPLER_COLORS)
    limit = 100 * nyquist_velocity(**recording.doppler_settings)
    weak = mean_power_db(theirs) < DOPPLER_FLOOR
    modes = b_mode(ours), b_mode(theirs)
    velocities = [
        np.where(weak, 0.0, 100 * velocity)
        for velocity in (
            doppler_velocity(ours, **recording.doppler_settings),
            pymust_velocity(theirs, recording),
        )
    ]
    rows = (
        ("B-mode", "dB", modes, ("gray", -DYNAMIC_RANGE, 0.0), 0.5),
        ("velocity", "cm/s, positive towards the probe", velocities, (signed, -limit, limit), 0.5),
    )
    figure = dark_figure(15.0, 9.8, 80)
    left, width, gap = 0.045, 0.255, 0.022
    for row, (name, unit, (our_panel, their_panel), scale, span) in enumerate(rows):
        bottom = 0.555 - 0.49 * row
        panels = (
            (f"{name}, ulmpipe", our_panel, scale),
            (f"{name}, PyMUST", their_panel, scale),
            (f"{name}, ulmpipe − PyMUST", our_panel - their_panel, (signed, -span, span)),
        )
        for column, (title, values, (colors, low, high)) in enumerate(panels):
            axes = figure.add_axes(
                (left + column * (width + gap) + 0.062 * (column == 2), bottom, width, 0.4)
            )
            picture = show(axes, values, grid, colors, low, high)
            dress(axes, title)
            if column == 0:
                axes.set_ylabel("depth (mm)", fontsize=11, color=FAINT)
            if row:
                axes.set_xlabel("lateral (mm)", fontsize=11, color=FAINT)
            if column:
                beside = axes.get_position()
                bar = figure.add_axes((beside.x1 + 0.007, beside.y0, 0.009, beside.height))
                figure.colorbar(picture, cax=bar)
                bar.tick_params(colors=FAINT, labelsize=10)
                bar.set_ylabel(unit.split(",")[0] if column == 2 else unit, fontsize=11, color=TEXT)
    return figure


def show(axes: Axes, values: NDArray[Any], grid: Grid, colors: Any, low: float, high: float) -> Any:
    """One image, in millimetres."""
    half = (grid.x[1] - grid.x[0]) / 2
    extent = (grid.x[0] - half, grid.x[-1] + half, grid.z[0] - half, grid.z[-1] + half)
    picture = axes.imshow(
        values, cmap=colors, vmin=low, vmax=high, extent=millimetre_extent(extent), interpolation="nearest"
    )
    millimetre_ticks(axes, extent)
    return picture


def save(figure: Figure, path: Path) -> None:
    """PNG of 6 bits a colour: nobody sees the difference, and noise takes a third less room."""
    from PIL import Image, ImageOps

    page = io.BytesIO()
    figure.savefig(page, format="png", facecolor=BACKGROUND)
    ImageOps.posterize(Image.open(page).convert("RGB"), 6).save(path, optimize=True)


def main() -> None:
    """Compare, print, draw."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("PWI_disk.mat"), help="the recording")
    parser.add_argument("--output", type=Path, required=True, help="folder for the figure")
    arguments = parser.parse_args()
    try:
        import pymust  # noqa: F401
    except ImportError:
        sys.exit("pymust: not installed, expected it beside ulmpipe (pip install pymust)")
    try:
        recording = read_recording(arguments.data)
    except InputError as error:
        sys.exit(str(error))

    grid, f_number = image_grid(), pymust_f_number(recording)
    our_iq, their_iq = iq_samples(recording), pymust_iq_samples(recording)
    ours = beamform(our_iq, recording, grid, f_number=f_number)
    theirs = pymust_beamform(their_iq, recording, grid, f_number=f_number)
    center = disk_center(theirs, grid)
    inside = inside_disk(center, grid)

    def report(name: str, a: Images, b: Images) -> None:
        print(f"{name:<62}{difference(a, b, recording, inside)}")

    print(f"{grid.shape[0]} x {grid.shape[1]} pixels, {len(ours)} frames, f-number {f_number:.3f}, ", end="")
    print(f"Nyquist velocity {100 * nyquist_velocity(**recording.doppler_settings):.1f} cm/s")
    middle = (..., slice(RECORD_ENDS, -RECORD_ENDS))
    print(
        f"channel IQ, demodulate against rf2iq: {100 * relative(our_iq, their_iq):.2f} %, "
        f"{100 * relative(our_iq[middle], their_iq[middle]):.2f} % without {RECORD_ENDS} samples at each end "
        "(rf2iq mirrors the record there)"
    )
    report("all ours (oversampled x4) against all PyMUST's (linear)", ours, theirs)
    print("the same IQ (rf2iq's), only the beamformer differs:")
    ours = {q: beamform(their_iq, recording, grid, f_number=f_number, oversampling=q) for q in (1, 4, 16)}
    report("  ours, no oversampling, against linear: same interpolation", ours[1], theirs)
    report("  ours, x4, against linear", ours[4], theirs)
    for method in ("nearest", "quadratic", "lanczos3", "lanczos5"):
        other = pymust_beamform(their_iq, recording, grid, f_number=f_number, method=method)
        report(f"  ours, x4, against {method}", ours[4], other)
    print("the same beamformer (ours, x4), only the demodulation differs:")
    report("  demodulate against rf2iq", beamform(our_iq, recording, grid, f_number=f_number), ours[4])
    print("interpolation alone, against oversampling x16:")
    report("  x4", ours[4], ours[16])
    report("  none (linear)", ours[1], ours[16])
    for name, velocity in (
        ("ulmpipe", doppler_velocity(ours[4], **recording.doppler_settings)),
        ("PyMUST", pymust_velocity(theirs, recording)),
    ):
        rotation = fit_rotation(velocity, grid, inside)
        print(
            f"rotation, {name}: {rotation.rate:.2f} rad/s about x = {1e3 * rotation.axis:.3f} mm "
            f"(the disk's centre by its echoes: {1e3 * center[0]:.3f} mm), correlation {rotation.correlation:.4f}, "
            f"residual {100 * rotation.residual:.2f} cm/s"
        )
    arguments.output.mkdir(parents=True, exist_ok=True)
    path = arguments.output / "rotating_disk.png"
    all_ours = beamform(our_iq, recording, grid, f_number=f_number)
    save(draw(all_ours, theirs, recording, grid), path)
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
