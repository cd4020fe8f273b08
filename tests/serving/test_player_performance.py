"""Live streams that compiled code makes sound as those that `wavegen play` makes, whatever is changed meanwhile."""

from pathlib import Path

import numpy as np
import pytest

from wavegen import checkpoint
from wavegen.errors import InputError
from wavegen.generation.live import Live
from wavegen.generation.options import GenerationOptions
from wavegen.generation.session import Session
from wavegen.player.native import NativePlayer, Program, make_each
from wavegen.serving.models import ServedModel
from wavegen.serving.player_performance import PlayerPerformance

MADE = {"digits": {"labels": {"digit": "7", "speaker": "theo"}, "guidance": 1.5}, "music": {}}
CHANGES = {  # by the number of the block before which they are made
    3: lambda one: one.change(temperature=0.5, gain=0.5),
    9: lambda one: one.change(labels={"digit": "3"} if "digit" in one.controls.labels else {"piece": "gold-rush"}),
    15: lambda one: one.restart(9),
    22: lambda one: one.change(is_frozen=True),
    24: lambda one: one.change(is_frozen=False, guidance=2.0),
}


@pytest.mark.parametrize("name", MADE)
def test_it_sounds_as_a_card_does(name: str) -> None:
    loaded, options = checkpoint.load(Path(name)), {"seed": 4, **MADE[name]}
    live = Live(Session(loaded, GenerationOptions(**options), labels_follow=True))
    model = ServedModel(name, loaded)
    maker = model.maker(options, labels_follow=True)
    assert model.program is not None
    played = PlayerPerformance(maker, maker.stream(), model.program)
    of_card, of_service = live.blocks(), played.performance()
    for number in range(40):
        for one in (live, played):
            CHANGES.get(number, lambda one: None)(one)
        block = next(of_service)
        while block is None:
            block = of_service.send(played.player.make(256)[None])
        np.testing.assert_array_max_ulp(block, next(of_card), 1)


def test_what_a_model_does_not_take_is_refused() -> None:
    program = Program(checkpoint.load(Path("music")), "int8x8")
    player = NativePlayer(program, 1)
    for option, value in (("temperature", -1.0), ("temperature_frames", 0.5), ("top_p", 2.0)):
        with pytest.raises(InputError, match=f"this model takes no {option}"):
            player.change(option, value)
    for label, value in (("piece", "nothing"), ("digit", "7")):
        with pytest.raises(InputError, match="is not known"):
            player.set_label(label, value)
    made = player.make(1000)
    player.restart(1)
    np.testing.assert_array_equal(player.make(1000), made)


def test_players_make_together_what_each_makes_alone() -> None:
    program = Program(checkpoint.load(Path("music")), "int8x8")
    together = make_each([NativePlayer(program, seed) for seed in range(3)], 500)
    for seed, samples in enumerate(together):
        np.testing.assert_array_equal(samples, NativePlayer(program, seed).make(500))
    assert make_each([], 500).shape == (0, 500)
