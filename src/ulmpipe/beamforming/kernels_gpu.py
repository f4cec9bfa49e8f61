"""Delay-and-sum on the GPU: CuPy raw kernels, the twin of `kernels_cpu`.

`refine` oversamples the channels of some frames, `delay_and_sum` gives each thread one pixel of a few frames,
so that a delay is worked out once for all of them. The source uses only what a small shim over the CUDA
built-ins can stand in for: the tests compile the same text for the host.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from ulmpipe.beamforming.das import Scan

THREADS = 128
FRAMES_PER_THREAD = 8  # as FRAMES in the source
FRAMES_AT_ONCE = 64  # bounds the memory of the oversampled channels
PIXELS_AT_ONCE = 16384  # bounds the memory of the delay tables while they are made

SOURCE = r"""
#define FRAMES 8

extern "C" __global__ void refine(const float2* data, const float* taps, int oversampling, int n_taps,
                                  int n_samples, long long n_channels, float2* fine)
{
    const long long n_rows = (long long)(n_samples - 1) * oversampling + 2;
    const long long index = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (index >= n_channels * n_rows) return;
    const long long channel = index / n_rows;
    const int row = (int)(index - channel * n_rows);
    const int sample = row / oversampling, phase = row - sample * oversampling;
    const float2* source = data + channel * n_samples;
    float2 sum = make_float2(0.0f, 0.0f);
    if (oversampling == 1) {
        if (sample < n_samples) sum = source[sample];
    } else {
        for (int tap = 0; tap < n_taps; ++tap) {
            const int at = sample + tap - n_taps / 2 + 1;
            if (at < 0 || at >= n_samples) continue;
            const float weight = taps[phase * n_taps + tap];
            sum.x += weight * source[at].x;
            sum.y += weight * source[at].y;
        }
    }
    fine[index] = sum;
}

extern "C" __global__ void delay_and_sum(const float2* fine, const float* transmit_position,
                                         const float2* transmit_phase, const float* receive_position,
                                         const float2* receive_phase, const long long* pixel, int n_frames,
                                         int n_angles, int n_elements, int n_rows, int n_pixels,
                                         long long image_size, float2* image)
{
    const int here = blockIdx.x * blockDim.x + threadIdx.x;
    const int first_frame = blockIdx.y * FRAMES;
    if (here >= n_pixels || first_frame >= n_frames) return;
    const int frames = n_frames - first_frame < FRAMES ? n_frames - first_frame : FRAMES;
    const long long frame_size = (long long)n_angles * n_elements * n_rows;
    float2 sum[FRAMES];
    for (int k = 0; k < FRAMES; ++k) sum[k] = make_float2(0.0f, 0.0f);
    for (int element = 0; element < n_elements; ++element) {
        const float2 receive = receive_phase[(long long)element * n_pixels + here];
        if (receive.x == 0.0f && receive.y == 0.0f) continue;
        const float receive_at = receive_position[(long long)element * n_pixels + here];
        for (int angle = 0; angle < n_angles; ++angle) {
            const float position = transmit_position[(long long)angle * n_pixels + here] + receive_at;
            if (!(position >= 0.0f && position <= (float)(n_rows - 2))) continue;
            const int row = (int)position;
            const float far = position - (float)row, near = 1.0f - far;
            const float2 transmit = transmit_phase[(long long)angle * n_pixels + here];
            const float re = transmit.x * receive.x - transmit.y * receive.y;
            const float im = transmit.x * receive.y + transmit.y * receive.x;
            const float2* source = fine + first_frame * frame_size
                                   + ((long long)angle * n_elements + element) * n_rows + row;
            #pragma unroll
            for (int k = 0; k < FRAMES; ++k) {
                if (k >= frames) break;
                const float2 a = source[k * frame_size], b = source[k * frame_size + 1];
                const float x = near * a.x + far * b.x, y = near * a.y + far * b.y;
                sum[k].x += re * x - im * y;
                sum[k].y += re * y + im * x;
            }
        }
    }
    for (int k = 0; k < frames; ++k) image[(first_frame + k) * image_size + pixel[here]] = sum[k];
}
"""


@cache
def is_available() -> bool:
    """Whether CuPy is installed and sees a device."""
    try:
        import cupy

        return bool(cupy.cuda.runtime.getDeviceCount() > 0)
    except Exception:  # CuPy without a driver raises its own error types
        return False


@cache
def _compiled() -> Any:
    import cupy

    return cupy.RawModule(code=SOURCE)


def _delay_tables(scan: Scan) -> Iterator[tuple[NDArray[Any], ...]]:
    """Delays of all pixels, a bounded number at a time; made in float64, the kernel only interpolates and sums.

    Yields
    ------
    transmit_position : (angle, pixel) float32
        Oversampled samples from the first one; transmit and receive positions add up.
    transmit_phase : (angle, pixel) complex64
        Of the carrier, over the number of angles; transmit and receive phases multiply.
    receive_position : (element, pixel) float32
    receive_phase : (element, pixel) complex64
        Times the apodization: zero where the element is outside the pixel's aperture.
    pixel : (pixel,) int64
        Index into the flattened image.
    """
    element, angle = scan.element_positions[:, None], scan.angles[:, None]
    n_x = scan.grid.x.size
    for first in range(0, scan.grid.z.size * n_x, PIXELS_AT_ONCE):
        pixel = np.arange(first, min(first + PIXELS_AT_ONCE, scan.grid.z.size * n_x))
        z, x = scan.grid.z[pixel // n_x], scan.grid.x[pixel % n_x]
        transmit_delay = (x * np.sin(angle) + z * np.cos(angle)) / scan.speed_of_sound - scan.first_firing[
            :, None
        ]
        distance = np.hypot(x - element, z)
        receive_delay = distance / scan.speed_of_sound
        sent_later, sent_turns = _lens(scan, z / np.cos(angle))
        received_later, received_turns = _lens(scan, distance)
        yield (
            ((transmit_delay + sent_later - scan.start_time) * scan.sampling_frequency).astype(np.float32),
            _phase(scan.demodulation_frequency * transmit_delay + sent_turns) / np.float32(angle.size),
            ((receive_delay + received_later) * scan.sampling_frequency).astype(np.float32),
            _phase(scan.demodulation_frequency * receive_delay + received_turns) * _apodization(scan, x, z),
            pixel,
        )


def _lens(scan: Scan, distance: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Delay, s, and phase, turns, that the elevation lens adds to a way of this length."""
    if scan.lens.size == 0:
        return np.zeros(()), np.zeros(())
    near = scan.lens_focus / np.clip(distance, *scan.lens_range)
    path, turns = (np.polynomial.polynomial.polyval(near, each) for each in scan.lens)
    return path / scan.speed_of_sound, turns


def _apodization(scan: Scan, x: NDArray[np.float64], z: NDArray[np.float64]) -> NDArray[np.float32]:
    """Weight of every element for every pixel (element, pixel); a Tukey window."""
    element = scan.element_positions[:, None]
    if scan.f_number > 0:
        distance, half_aperture = np.abs(x - element), z / (2 * scan.f_number)
        inside, off_axis = distance <= half_aperture, distance / np.maximum(half_aperture, 1e-30)
    else:
        inside, off_axis = np.ones((element.size, x.size), bool), np.abs(element) / scan.half_array
    weight = inside.astype(np.float32)
    if scan.taper > 0:
        outer = np.clip((off_axis - (1 - scan.taper)) / scan.taper, 0, 1)
        weight *= (0.5 + 0.5 * np.cos(np.pi * outer)).astype(np.float32)
    return weight


def _phase(turns: NDArray[np.float64]) -> NDArray[np.complex64]:
    """exp(2 pi i turns); whole turns are dropped in float64, so that float32 is enough for the rest."""
    radians = (2 * np.pi * (turns - np.rint(turns))).astype(np.float32)
    phase = np.empty(turns.shape, dtype=np.complex64)
    phase.real, phase.imag = np.cos(radians), np.sin(radians)
    return phase


def beamform(
    data: NDArray[np.complex64], scan: Scan, image: NDArray[np.complex64], _workers: int = 1
) -> None:
    """Fill image (frame, pixel) from data (frame, angle, element, sample); see `das.delay_and_sum`.

    All delay tables stay on the device: 12 bytes per element and pixel.
    """
    import cupy

    refine, delay_and_sum = (_compiled().get_function(name) for name in ("refine", "delay_and_sum"))
    n_frames, n_angles, n_elements, n_samples = data.shape
    oversampling, n_taps = scan.interpolation_filter.shape
    n_rows = (n_samples - 1) * oversampling + 2
    on_device = [[cupy.asarray(array) for array in tables] for tables in _delay_tables(scan)]
    taps_on_device = cupy.asarray(scan.interpolation_filter)
    for first in range(0, n_frames, FRAMES_AT_ONCE):
        some = cupy.asarray(data[first : first + FRAMES_AT_ONCE])
        n_some = some.shape[0]
        fine = cupy.empty((n_some, n_angles, n_elements, n_rows), dtype=np.complex64)
        n_channels = n_some * n_angles * n_elements
        refine(
            (-(-fine.size // THREADS),),
            (THREADS,),
            (
                some,
                taps_on_device,
                np.int32(oversampling),
                np.int32(n_taps),
                np.int32(n_samples),
                np.int64(n_channels),
                fine,
            ),
        )
        part = cupy.empty((n_some, image.shape[1]), dtype=np.complex64)
        counts = (np.int32(n_some), np.int32(n_angles), np.int32(n_elements), np.int32(n_rows))
        for *delays, pixel in on_device:
            delay_and_sum(
                (-(-pixel.size // THREADS), -(-n_some // FRAMES_PER_THREAD)),
                (THREADS,),
                (fine, *delays, pixel, *counts, np.int32(pixel.size), np.int64(image.shape[1]), part),
            )
        image[first : first + n_some] = part.get()
