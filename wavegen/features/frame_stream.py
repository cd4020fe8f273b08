"""The feature frames of a sound that arrives, sample by sample: as features/frames.py, without its end."""

from collections import deque

import numpy as np
from numpy.typing import NDArray

from wavegen.features.frames import Features
from wavegen.features.pitch import PitchTracker

N_REVISED = 16  # frames, 0.2 s: those before are as they are in the track of the whole sound


class FrameStream:
    """Frames of a sound, as soon as all samples that they see have come (`Features.reach`).

    The log-mel bands are those of the whole sound. The pitch is the best guess so far: with each frame that comes the
    newest `N_REVISED` may change (pitch.PitchTracker). How the samples are cut into calls makes no difference.

    Beside the pitch of the whole sound, in 7 recordings of LibriSpeech: with 0, 1, 2, 4, 8 frames behind it 3.6, 2.1,
    1.2, 0.3 and 0.05 % of the voiced frames are off by more than 50 cents, and 4.6, 2.7, 2.3, 2.1 and 2.0 % of all
    have another voicing. The last stay: the peak of the whole sound is not known yet.

    >>> from wavegen.features.frames import make_features
    >>> stream = FrameStream(make_features(16000, {"hop": 200, "pitch": {}}))
    >>> stream.feed(np.zeros(16000))
    >>> stream.n_frames  # 80 frames a second; the last two see samples that have not come
    78
    """

    def __init__(self, features: Features, n_kept: int = 1 << 10) -> None:
        self._features, self._hop, self._reach = features, features.hop, features.reach
        self._tracker = None if features.pitch is None else PitchTracker(features.pitch, N_REVISED)
        self._samples: NDArray[np.floating] = np.zeros(self._reach)  # from `reach` before the next frame's middle on
        self._frames: deque[NDArray[np.float32]] = deque(maxlen=n_kept)
        self.n_frames = 0

    def feed(self, samples: NDArray[np.floating]) -> None:
        """Take the next samples (T,) in [-1, 1], and the frames that they complete."""
        self._samples = np.concatenate([self._samples, samples])
        while len(self._samples) >= 2 * self._reach:
            self._add(self._samples[: 2 * self._reach])
            self._samples = self._samples[self._hop :]

    def frame(self, number: int) -> NDArray[np.float32]:
        """A frame (n_features,) as it is known now; the newest are kept."""
        return self._frames[number - self.n_frames]

    def _add(self, around: NDArray[np.floating]) -> None:
        """The next frame, of the samples around its middle, `reach` to either side."""
        frame = np.empty(self._features.n_features, dtype=np.float32)
        n_mels = self._features.n_mels
        if self._features.log_mel is not None:
            frame[:n_mels] = self._features.log_mel.of(_middle(around, self._features.log_mel.reach)[None])[0, 0]
        self._frames.append(frame)
        self.n_frames += 1
        if self._tracker is not None:
            newest = self._tracker.add(_middle(around, self._tracker.pitch.reach))
            for back, of_pitch in enumerate(newest[::-1], 1):
                if back <= len(self._frames):
                    self._frames[-back][n_mels:] = of_pitch


def _middle(samples: NDArray[np.floating], reach: int) -> NDArray[np.floating]:
    """So many samples to either side of the middle."""
    middle = len(samples) // 2
    return samples[middle - reach : middle + reach]
