import torch
from torch import nn

from wavegen.training import optimizers
from wavegen.training.optimizers import RMS, Muon, orthogonalise


def test_singular_values_come_near_one_and_singular_vectors_stay():
    torch.manual_seed(0)
    for rows, columns in ((8, 8), (6, 20), (20, 6)):
        matrices = torch.randn(3, rows, columns)
        found = orthogonalise(matrices)
        values = torch.linalg.svdvals(found)
        assert values.max() < 1.3
        assert values.min() > 0.3
        u, _, v = torch.linalg.svd(matrices, full_matrices=False)
        core = u.mT @ found @ v.mT
        off_diagonal = core - torch.diag_embed(core.diagonal(dim1=1, dim2=2))
        assert off_diagonal.abs().max() < 0.1


def test_updates_have_the_size_of_the_learning_rate_whatever_the_gradients():
    torch.manual_seed(0)
    for shape in ((16, 16), (3, 16, 8), (2, 2, 12, 6)):
        for scale in (1e-6, 1e3):
            weight = nn.Parameter(torch.zeros(shape))
            weight.grad = scale * torch.randn(shape)
            Muon([weight], lr=0.5).step()
            size = weight.detach().square().mean().sqrt() / 0.5
            assert 0.5 * RMS < size < 1.5 * RMS


def test_the_taps_of_a_convolution_are_one_matrix():
    torch.manual_seed(0)
    gradient = torch.randn(3, 6, 4)
    taps, joined = nn.Parameter(torch.zeros(3, 6, 4)), nn.Parameter(torch.zeros(6, 12))
    taps.grad, joined.grad = gradient.clone(), torch.cat(list(gradient), dim=1)
    for weight in (taps, joined):
        Muon([weight], lr=1.0).step()
    assert torch.allclose(torch.cat(list(taps.detach()), dim=1), joined.detach(), atol=1e-6)


def test_a_state_that_was_saved_goes_on_the_same():
    def steps(optimizer: Muon, weight: nn.Parameter, numbers: range) -> None:
        for number in numbers:
            weight.grad = torch.randn(5, 5, generator=torch.Generator().manual_seed(number))
            optimizer.step()

    weight = nn.Parameter(torch.eye(5))
    whole = Muon([weight], lr=0.1, weight_decay=0.1)
    steps(whole, weight, range(6))
    again = nn.Parameter(torch.eye(5))
    first = Muon([again], lr=0.1, weight_decay=0.1)
    steps(first, again, range(3))
    second = Muon([again], lr=0.1, weight_decay=0.1)
    second.load_state_dict(first.state_dict())
    steps(second, again, range(3, 6))
    assert torch.equal(weight, again)


def test_one_plain_matrix_is_moved_as_by_pytorchs_own(monkeypatch):
    monkeypatch.setattr(torch.Tensor, "bfloat16", lambda tensor: tensor)  # both would round to it
    monkeypatch.setattr(optimizers, "multiplies_bfloat16", lambda device: True)
    torch.manual_seed(0)
    for shape in ((6, 10), (10, 6), (8, 8)):
        start, gradients = torch.randn(shape, dtype=torch.float64), torch.randn(5, *shape, dtype=torch.float64)
        ours, theirs = nn.Parameter(start.clone()), nn.Parameter(start.clone())
        pairs = (
            (ours, Muon([ours], lr=0.1, momentum=0.9, weight_decay=0.05)),
            (
                theirs,
                torch.optim.Muon(
                    [theirs], lr=0.1, momentum=0.9, weight_decay=0.05, adjust_lr_fn="match_rms_adamw", nesterov=True
                ),
            ),
        )
        for weight, optimizer in pairs:
            for gradient in gradients:
                weight.grad = gradient.clone()
                optimizer.step()
        assert (ours - theirs).abs().max() < 1e-12
