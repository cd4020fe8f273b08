"""PixelCNN: what a pixel depends on, and that rows can be streamed."""

import pytest
import torch

from wavegen.architectures import make_architecture
from wavegen.models.pixelcnn import PixelCNN

SIZES = {
    "n_classes": 11,
    "n_blocks": 2,
    "layers_per_block": 2,
    "residual_channels": 6,
    "gate_channels": 5,
    "skip_channels": 7,
    "head_channels": 9,
}
HEIGHT, WIDTH = 5, 4


def tiny_pixelcnn(n_colours=1, **changes):
    torch.manual_seed(0)
    sizes = {**SIZES, "height": HEIGHT, "width": WIDTH, "n_colours": n_colours, **changes}
    model = PixelCNN(make_architecture("pixelcnn", sizes))
    model.row.head_out.weight.data *= 20
    model.colour.data.normal_()
    if model.architecture.position_embedding:
        model.row_position.data.normal_()
        model.column_position.data.normal_()
    return model


def random_images(n, n_colours=1, n_classes=11):
    return torch.randint(0, n_classes, (n, HEIGHT * WIDTH * n_colours), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("n_colours", [1, 3])
@pytest.mark.parametrize("activation", ["gated", "relu"])
def test_a_code_depends_on_every_earlier_one_and_on_no_other(float64, n_colours, activation):
    model = tiny_pixelcnn(n_colours, activation=activation, n_blocks=4, kernel_width=5)
    codes = random_images(2, n_colours)
    before, _ = model(codes)
    for place in range(codes.shape[1]):
        changed = codes.clone()
        changed[:, place] = (changed[:, place] + 5) % 11
        after, _ = model(changed)
        differs = (after != before).any(dim=-1).any(dim=0)
        assert not differs[: place + 1].any()
        assert differs[place + 1 :].all()


def test_later_codes_have_exactly_no_gradient(float64):
    model = tiny_pixelcnn(3)
    codes = random_images(1, 3)
    embedded = []

    def keep(_module, _given, x):
        embedded.append(x)
        x.retain_grad()

    for embed in (model.row.embed, *model.embed):
        embed.register_forward_hook(keep)
    place = 2 * WIDTH * 3 + 4
    logits, _ = model(codes)
    logits[0, : place + 1].square().sum().backward()
    *above, across = (x.grad.abs().sum(dim=-1) for x in embedded)
    # `row` embeds the code before each place; the rows above are embedded one row late, a colour at a time.
    assert across.flatten()[: place + 1].any()
    assert not across.flatten()[place + 1 :].any()
    for colour in above:
        assert colour[0, :3].any()
        assert not colour[0, 3:].any()


@pytest.mark.parametrize("position_embedding", [False, True])
@pytest.mark.parametrize("n_colours", [1, 3])
def test_rows_can_come_in_any_chunks(float64, n_colours, position_embedding):
    model = tiny_pixelcnn(n_colours, labels={"digit": 3}, position_embedding=position_embedding)
    codes = random_images(2, n_colours)
    condition = model.condition({"digit": torch.tensor([0, 3])})
    whole, _ = model(codes, None, condition)
    pieces, state = [], None
    for chunk in codes.split([WIDTH * n_colours, 3 * WIDTH * n_colours, WIDTH * n_colours], dim=1):
        logits, state = model(chunk, state, condition)
        pieces.append(logits)
    torch.testing.assert_close(torch.cat(pieces, dim=1), whole, rtol=0, atol=1e-12)


def test_a_row_is_seen_before_it_is_drawn_and_told_afterwards(float64):
    model = tiny_pixelcnn()
    rows = random_images(1).unflatten(1, (HEIGHT, WIDTH))
    whole, _ = model.vertical_condition(rows)
    state = None
    for number in range(HEIGHT):
        seen, state = model.vertical_condition(torch.zeros_like(rows[:, :1]), state)
        torch.testing.assert_close(seen[:, 0], whole[:, number], rtol=0, atol=1e-12)
        state = model.observe(state, rows[:, number])


def test_labels_reach_both_stacks(float64):
    model = tiny_pixelcnn(labels={"digit": 3})
    codes = random_images(1)
    one, other = (model(codes, None, model.condition({"digit": torch.tensor([digit])}))[0] for digit in (0, 1))
    assert (one != other).any(dim=-1).all()
    condition = model.condition({"digit": torch.tensor([0])})
    n_layers = len(model.architecture.dilations)
    for part in (slice(None, n_layers), slice(n_layers, None)):
        changed = condition.clone()
        changed[:, :, part] += 0.1
        assert (model(codes, None, changed)[0] != one).any()


def test_positions_are_told_apart_beyond_the_receptive_field(float64):
    blank = torch.zeros((1, 20 * WIDTH), dtype=torch.int64)
    for is_told in (False, True):
        logits, _ = tiny_pixelcnn(height=20, position_embedding=is_told)(blank)
        rows = logits.unflatten(1, (20, WIDTH))[0, 10:]  # of which the receptive field of 8 rows sees no edge
        assert (rows[0] != rows[1:]).any() == is_told


def test_more_rows_than_it_knows_positions_are_refused(float64):
    model = tiny_pixelcnn(position_embedding=True)
    _, state = model(random_images(1))
    with pytest.raises(ValueError, match="6 rows; expected at most the height of 5"):
        model(random_images(1)[:, :WIDTH], state)


def test_dropout_is_for_training_only():
    model = tiny_pixelcnn(dropout=0.5)
    codes = random_images(1)
    assert not torch.equal(model(codes)[0], model(codes)[0])
    model.eval()
    assert torch.equal(model(codes)[0], model(codes)[0])


def test_an_optimiser_gets_every_matrix_between_hidden_channels():
    model = tiny_pixelcnn(3, labels={"digit": 3}, position_embedding=True)
    hidden = {id(parameter) for parameter in model.hidden_matrices()}
    left = {name for name, parameter in model.named_parameters() if id(parameter) not in hidden and parameter.ndim > 1}
    assert left == {
        "row.embed.weight", "row.head_out.weight", "embed.0.weight", "embed.1.weight", "embed.2.weight", "colour",
        "labels.digit.weight", "project_labels.weight", "row_position", "column_position",
    }  # fmt: skip
