"""Temporal order against the ranges of the paper."""

from lookback.data.temporal_order import TemporalOrder


def test_temporal_order_has_the_ranges_of_the_paper():
    for marks, ranges in ((2, ((10, 20), (50, 60))), (3, ((10, 20), (33, 43), (66, 76)))):
        task = TemporalOrder(
            length=110, marks=marks, train=1, validation=0, test=2000, seed=0, fresh=False
        )
        batch = task.dataset("test").batch(slice(None), evidence=True)
        steps = batch.evidence[:, 0].nonzero()[:, 1].view(-1, marks)
        for place, (low, high) in enumerate(ranges):
            assert steps[:, place].unique().tolist() == list(range(low, high + 1))
        assert batch.lengths.unique().tolist() == list(range(100, 111))
        assert batch.target.unique().tolist() == list(range(2**marks))
