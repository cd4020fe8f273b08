"""A model that makes sound by itself: all that `wavegen generate` does for one stream, compiled, allocating nothing.

What is here is compiled ahead of time (engines/cpu/ahead_of_time.py) for places without Python. It reads a player file
(player_file.py) where that lies in memory, and has a room to work in, whose size the file says. `model` is where in
memory a `Model` lies, at the beginning of that room.
"""

import numpy as np
from numba import njit

from wavegen.engines.cpu.arguments import (
    CATEGORICAL,
    GUIDANCE,
    N_DECODING,
    TEMPERATURE,
    TOP_K,
    TOP_P,
    VOICED_TEMPERATURE,
)
from wavegen.engines.cpu.philox import uniform
from wavegen.engines.cpu.simd import pointer, read, write
from wavegen.player import matching, networks, plan, rows
from wavegen.player.model import (
    BLOCK,
    IS_GUIDED,
    IS_MATCHED,
    N_COUNTS,
    N_GIVEN,
    N_LEFT,
    N_READY,
    N_WAITING,
    NUMBER,
    POSITION,
    SEED,
    frames_of,
    image_of,
    labels_of,
    matching_of,
    memory_of,
    net_of,
    plan_of,
    planner_memory_of,
    planner_of,
    sound_of,
)
from wavegen.sampling import DECODING, MAX_GUIDANCE, MAX_TOP_K

OPTIONS = (*DECODING, "temperature_frames", "match")
TEMPERATURE_FRAMES, MATCH = len(DECODING), len(DECODING) + 1
CAN_BE_NONE = (TOP_K, TOP_P, VOICED_TEMPERATURE)
PIECE = 4  # codes of an image that are made at a time: the surprise of the last of them is counted
BLOCKS_OF_MEAN = 16  # the newest of which the surprise is the mean of
LARGEST = np.finfo(np.float64).max
LEAST = tuple(1.0 if name == "top_k" else 0.0 for name in OPTIONS)
MOST = tuple(
    {"top_k": float(MAX_TOP_K), "top_p": 1.0, "match": 1.0, "guidance": MAX_GUIDANCE}.get(name, LARGEST)
    for name in OPTIONS
)


@njit(error_model="numpy")
def prepare(model: int) -> None:
    """Draw as the model was made to, and know no label."""
    sound = sound_of(model)
    defaults = pointer(sound.defaults, np.float64, 0)
    networks.prepare(net_of(model))
    if plan_of(model).n_channels > 0:
        plan.prepare(model)
    for what in range(len(OPTIONS)):
        change(model, what, read(defaults, what))
    for label in range(sound.n_labels):
        change(model, len(OPTIONS) + label, np.float64(read(pointer(sound.n_rows, np.int64, 0), label) - 1))
    relabel(model)


@njit(error_model="numpy")
def change(model: int, what: int, value: float) -> int:
    """Change an option or a label; 1 if it is one and takes the value, else 0."""
    sound = sound_of(model)
    if 0 <= what < len(OPTIONS):
        if not (LEAST[what] <= value <= MOST[what] or (np.isnan(value) and what in CAN_BE_NONE)):
            return 0
        if what == TEMPERATURE_FRAMES:
            if plan_of(model).n_channels == 0:
                return 0
            for stream in range(2, 4):
                write(pointer(plan_of(model).decoding, np.float64, stream * N_DECODING), TEMPERATURE, value)
            return 1
        if what == MATCH:
            if matching_of(model).length == 0:
                return 0
            write(pointer(sound.state, np.int64, 0), IS_MATCHED, np.int64(value))
            return 1
        if what == GUIDANCE:
            return guide(model, value)
        for stream in range(2):
            write(pointer(sound.decoding, np.float64, stream * N_DECODING), what, value)
        return 1
    label = what - len(OPTIONS)
    n_rows = pointer(sound.n_rows, np.int64, 0)
    if not 0 <= label < sound.n_labels or not 0 <= value < read(n_rows, label):
        return 0
    first, n_all = 0, 0
    for other in range(sound.n_labels):
        first += read(n_rows, other) if other < label else 0
        n_all += read(n_rows, other)
    for network in range(2):
        number = read(pointer(sound.label_of, np.int64, network * sound.n_labels), label)
        row = read(pointer(sound.row_of, np.int64, network * n_all + first), np.int64(value))
        if number >= 0:
            write(pointer(sound.chosen if network == 0 else sound.planned, np.int64, 0), number, row)
    relabel(model)
    return 1


@njit(error_model="numpy")
def guide(model: int, value: float) -> int:
    """Change the guidance: of the plan, where there is one."""
    is_planned = plan_of(model).n_channels > 0
    memory = planner_memory_of(model) if is_planned else memory_of(model)
    if value != 1 and memory.n_streams == 1:
        return 0
    decoding = pointer(plan_of(model).decoding if is_planned else sound_of(model).decoding, np.float64, 0)
    for stream in range(4 if is_planned else 2):
        write(decoding, stream * N_DECODING + GUIDANCE, value)
    return 1


@njit(error_model="numpy")
def relabel(model: int) -> None:
    """Let the chosen labels count from the next step on."""
    sound = sound_of(model)
    networks.condition_labels(labels_of(model), sound.chosen, sound.of_labels)
    if plan_of(model).n_channels > 0:
        plan.relabel(model)
    if frames_of(model).hop > 0:
        join_conditions(model)


@njit(error_model="numpy")
def begin(model: int, seed: np.uint64, number: np.uint64) -> None:
    """Go back to the beginning of time, of the sound or image of a seed and a number."""
    sound = sound_of(model)
    state = pointer(sound.state, np.int64, 0)
    write(state, POSITION, 0)
    write(state, SEED, np.int64(seed))
    write(state, NUMBER, np.int64(number))
    write(state, IS_GUIDED, 0)
    write(pointer(sound.before, np.float64, 0), 0, 0.0)
    write(pointer(sound.bits, np.float64, 0), 0, np.nan)
    networks.clear(net_of(model), memory_of(model))
    if image_of(model).height > 0:
        rows.begin(model)
    if matching_of(model).length > 0:
        matching.begin(model)
    if plan_of(model).n_channels > 0:
        networks.clear(planner_of(model), planner_memory_of(model))
        for index in range(N_COUNTS):
            write(pointer(plan_of(model).counts, np.int64, 0), index, 0)


@njit(error_model="numpy")
def make(model: int, out: int, n: int) -> None:
    """The next n samples, float32 at an address, matched to their frames where they are to be; or the next n
    brightnesses of an image, from 0 to 1."""
    if image_of(model).height > 0:
        make_image(model, out, n)
        return
    if read(pointer(sound_of(model).state, np.int64, 0), IS_MATCHED) == 0:
        make_plain(model, out, n)
        return
    own, samples = matching_of(model), pointer(out, np.float32, 0)
    counts, ready = pointer(own.counts, np.int64, 0), pointer(own.ready, np.float64, 0)
    for index in range(n):
        while read(counts, N_GIVEN) == read(counts, N_READY):
            write(counts, N_GIVEN, 0)
            write(counts, N_READY, 0)
            wait_for_frame(model)
            matching.advance(model)
        n_given = read(counts, N_GIVEN)
        write(samples, index, np.float32(min(max(read(ready, n_given), -1.0), 1.0)))
        write(counts, N_GIVEN, n_given + 1)


@njit(error_model="numpy")
def wait_for_frame(model: int) -> None:
    """Have as many samples wait as are in a frame: they are made a block at a time, so that a change counts from the
    same sample on as in `wavegen play`."""
    own = matching_of(model)
    counts, waiting = pointer(own.counts, np.int64, 0), pointer(own.waiting, np.float64, 0)
    made, n_left = pointer(own.made, np.float32, 0), read(counts, N_LEFT)
    for place in range(read(counts, N_WAITING), own.length):
        if n_left == 0:
            make_plain(model, own.made, BLOCK)
            n_left = BLOCK
        write(waiting, place, np.float64(read(made, BLOCK - n_left)))
        n_left -= 1
    write(counts, N_LEFT, n_left)


@njit(error_model="numpy")
def make_plain(model: int, out: int, n: int) -> None:
    """The next n samples as the network makes them."""
    sound = sound_of(model)
    done, position = 0, pointer(sound.state, np.int64, POSITION)
    while done < n:
        n_now, hop = min(n - done, BLOCK), frames_of(model).hop
        if hop > 0:
            n_now = min(n_now, hop - read(position, 0) % hop)
        make_codes(model, n_now)
        decode(model, out + 4 * done, n_now)
        done += n_now


@njit(error_model="numpy")
def make_codes(model: int, n: int) -> None:
    """The next n codes, at most BLOCK and of one frame, in `sound.codes`."""
    sound, memory, frames = sound_of(model), memory_of(model), frames_of(model)
    state = pointer(sound.state, np.int64, 0)
    uniforms, codes = pointer(sound.uniforms, np.float64, 0), pointer(sound.codes, np.int64, 0)
    position, seed, number = read(state, POSITION), np.uint64(read(state, SEED)), np.uint64(read(state, NUMBER))
    for step in range(n):
        write(uniforms, step, uniform(seed, number, position + step))
    for index in range(memory.n_streams * n):
        write(codes, index, -1)
    is_guided = has_guidance(model)
    if image_of(model).height > 0:  # which may change from row to row
        is_guided = read(state, IS_GUIDED) == 1
    elif is_guided and read(state, IS_GUIDED) == 0:
        networks.copy_first_stream(net_of(model), memory)
    write(state, IS_GUIDED, np.int64(is_guided))
    n_frames, hop, condition = min(1, labels_of(model).n), np.int64(1), sound.of_labels
    if frames.hop > 0:
        n_frames, hop, condition = np.int64(2), frames.hop, sound.condition
        if position % hop == 0:
            plan.advance(model, seed, number, position // hop)
            join_conditions(model)
    phase = position % hop
    if image_of(model).height > 0:
        image = image_of(model)
        n_frames, condition, phase = image.row_length, image.condition, position % image.row_length
        for step in range(n):
            given = read(pointer(image.given, np.int64, 0), position + step)
            for stream in range(memory.n_streams):
                write(codes, stream * n + step, given)
    networks.run(
        net_of(model), memory, frames, n, sound.uniforms, sound.decoding, is_guided, sound.codes, n_frames, hop,
        phase, condition,
    )  # fmt: skip
    write(state, POSITION, position + n)
    note_bits(model, read(codes, n - 1), position)


@njit(error_model="numpy")
def note_bits(model: int, code: int, position: int) -> None:
    """Count how surprising the newest code was, under what it was drawn from at a temperature of 1: into the mean of
    the newest, or of all of an image so far. `position` is where its block began."""
    net, mean = net_of(model), pointer(sound_of(model).bits, np.float64, 0)
    if net.head != CATEGORICAL:
        return
    logits, whole = pointer(memory_of(model).out, np.float32, 0), 0.0
    for index in range(net.n_classes):
        whole += np.exp(np.float64(read(logits, index)) - np.float64(read(logits, code)))
    bits, before = np.log(whole) / np.log(2.0), read(mean, 0)
    n = 1 + position // PIECE if image_of(model).height > 0 else BLOCKS_OF_MEAN
    write(mean, 0, bits if np.isnan(before) else before + (bits - before) / n)


@njit(error_model="numpy")
def has_guidance(model: int) -> bool:
    """Whether labels of the network count for more or less than they learnt to."""
    return memory_of(model).n_streams == 2 and read(pointer(sound_of(model).decoding, np.float64, 0), GUIDANCE) != 1


@njit(error_model="numpy")
def make_image(model: int, out: int, n: int) -> None:
    """The next n brightnesses, float32 at an address; behind the end of the image there is black."""
    image, sound, done = image_of(model), sound_of(model), 0
    state, samples = pointer(sound.state, np.int64, 0), pointer(out, np.float32, 0)
    row_codes, codes = pointer(image.codes, np.int64, 0), pointer(sound.codes, np.int64, 0)
    while done < n:
        position = read(state, POSITION)
        if position == image.height * image.row_length:
            write(samples, done, np.float32(0))
            done += 1
            continue
        column = position % image.row_length
        if column == 0:
            is_guided = has_guidance(model)
            write(state, IS_GUIDED, np.int64(is_guided))
            networks.clear(net_of(model), memory_of(model))
            for stream in range(2 if is_guided else 1):
                rows.condition_row(model, stream, position // image.row_length)
        n_now = min(n - done, min(PIECE, image.row_length - column))
        make_codes(model, n_now)
        for index in range(n_now):
            code = read(codes, index)
            write(row_codes, column + index, code)
            write(samples, done + index, np.float32(code / (image.n_classes - 1)))
        done += n_now


@njit(error_model="numpy")
def give(model: int, values: int, n: int) -> int:
    """Let the next n brightnesses of an image, float32 at an address, be what is there, where that is 0 to 1, and drawn
    where it is not; 1 if there is room for so many, else 0."""
    image, first = image_of(model), read(pointer(sound_of(model).state, np.int64, 0), POSITION)
    if not 0 <= n <= image.height * image.row_length - first:
        return 0
    brightness, given = pointer(values, np.float32, 0), pointer(image.given, np.int64, 0)
    for index in range(n):
        value = np.float64(read(brightness, index))
        code = np.int64(np.floor(value * (image.n_classes - 1) + 0.5)) if 0 <= value <= 1 else np.int64(-1)
        write(given, first + index, code)
    return 1


@njit(error_model="numpy")
def join_conditions(model: int) -> None:
    """What the network is made under by two frames and the labels."""
    sound = sound_of(model)
    frames = frames_of(model)
    n_outputs = frames.n_outputs
    projected, of_labels = pointer(frames.projected, np.float32, 0), pointer(sound.of_labels, np.float32, 0)
    condition = pointer(sound.condition, np.float32, 0)
    for index in range(2 * n_outputs):
        value = read(projected, index)
        if labels_of(model).n > 0:
            value += read(of_labels, index % n_outputs)
        write(condition, index, value)


@njit(error_model="numpy")
def decode(model: int, out: int, n: int) -> None:
    """Make n samples, at an address, of the codes; as `codec.Codec.decoder`."""
    sound = sound_of(model)
    codes, samples = pointer(sound.codes, np.int64, 0), pointer(out, np.float32, 0)
    before = pointer(sound.before, np.float64, 0)
    factor, now = read(pointer(sound.pre_emphasis, np.float64, 0), 0), read(before, 0)
    for index in range(n):
        now = np.float64(level_of(model, read(codes, index))) + factor * now
        write(samples, index, np.float32(min(max(now, -1.0), 1.0)))
    write(before, 0, now)


@njit(error_model="numpy")
def level_of(model: int, code: int) -> np.float32:
    """What a code decodes to."""
    sound = sound_of(model)
    if sound.is_even:
        return np.float32(2 * code / (sound.n_classes - 1) - 1)
    return read(pointer(sound.levels, np.float32, 0), code)
