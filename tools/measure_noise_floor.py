"""Measure the noise floor of sounds: what is left in every frequency when the sound there is at its quietest.

    python -m tools.measure_noise_floor recorded.wav 8bit.wav 16bit.wav

Short spectra (64 ms), but for those 40 dB below the level of the whole sound, where it pauses; in each frequency the
level that only a tenth of them stays below; the mean of these levels over the frequencies above 100 Hz, in dB of a
full-scale sine. Printed beside the level of the whole sound.
"""

import argparse
from pathlib import Path

import numpy as np
import soundfile

FRAME_S = 0.064
LOWEST_HZ = 100
PAUSE_DB = -40


def noise_floor_db(waveform: np.ndarray, rate: int) -> float:
    """The noise floor of a waveform (T,), dB of a full-scale sine in one frequency."""
    n = round(FRAME_S * rate)
    window = np.hanning(n)
    frames = np.lib.stride_tricks.sliding_window_view(waveform, n)[:: n // 4]
    level = np.mean((frames - frames.mean(axis=1, keepdims=True)) ** 2, axis=1)
    frames = frames[level >= level.mean() * 10 ** (PAUSE_DB / 10)]
    power = np.abs(np.fft.rfft(frames * window)) ** 2 / (window.sum() / 2) ** 2
    audible = np.fft.rfftfreq(n, 1 / rate) >= LOWEST_HZ
    return float(np.mean(10 * np.log10(np.quantile(power[:, audible], 0.1, axis=0) + 1e-20)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sound", type=Path, nargs="+")
    for path in parser.parse_args().sound:
        waveform, rate = soundfile.read(path)
        level = 10 * np.log10(np.mean(waveform**2) + 1e-20)
        print(f"{path}: noise floor {noise_floor_db(waveform, rate):.1f} dB, level {level:.1f} dB")


if __name__ == "__main__":
    main()
