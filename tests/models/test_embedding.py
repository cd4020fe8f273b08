import pytest
import torch

from wavegen.models.embedding import CoarseFineEmbedding, embed_codes, smooth_features


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def test_neighbouring_codes_begin_with_similar_embeddings():
    table = smooth_features(256, 32)
    near = (table[1:] - table[:-1]).norm(dim=1).mean()
    far = (table[128:] - table[:128]).norm(dim=1).mean()
    assert near < far / 5


def test_few_classes_have_a_row_each_and_many_share_lines():
    assert embed_codes(256, 8).weight.shape == (256, 8)
    many = embed_codes(65536, 8)
    assert isinstance(many, CoarseFineEmbedding)
    assert sum(parameter.numel() for parameter in many.parameters()) == 2 * 256 * 8
    assert set(many.state_dict()) == {"coarse.weight", "fine.weight"}


def test_all_16_bit_codes_look_different_and_neighbours_alike():
    embedding = CoarseFineEmbedding(65536, 16)
    table = embedding(torch.arange(65536))
    assert len(torch.unique(table, dim=0)) == 65536
    steps = (table[1:] - table[:-1]).norm(dim=1)
    assert steps.median() < 0.1
    assert steps.median() < (table[32768:] - table[:32768]).norm(dim=1).median() / 20


def test_quiet_codes_are_told_apart_more_finely_than_loud_ones():
    embedding = CoarseFineEmbedding(65536, 16)
    intervals = embedding.coarse_of
    assert (intervals[32768 - 500 : 32768 + 500].unique().numel()) > 50
    assert intervals[-1000:].unique().numel() <= 2
    assert intervals.diff().min() >= 0


def test_gradients_reach_both_tables():
    embedding = CoarseFineEmbedding(65536, 4)
    embedding(torch.tensor([[1, 40000]])).sum().backward()
    for table in (embedding.coarse, embedding.fine):
        assert table.weight.grad is not None
        assert table.weight.grad.abs().sum() > 0
