import numpy as np

from orchestrator.privacy.ledger.row_sketch import RowSketch

MACS = np.random.default_rng(0).integers(0, 2**64, 200_000, dtype=np.uint64)


def test_a_sketch_that_fits_holds_every_row_once():
    sketch = RowSketch.of(np.concatenate([MACS, MACS]))
    assert (sketch.level, len(sketch.macs)) == (0, len(MACS))


def test_a_larger_set_is_sampled_by_prefix_and_bounded():
    sketch = RowSketch.of(MACS, max_rows=30_000)
    assert sketch.level == 3
    assert len(sketch.macs) <= 30_000
    assert set(sketch.macs) == {mac for mac in MACS if mac < 2**61}


def test_few_of_many_rows_are_found_also_in_a_sample():
    whole, sample = RowSketch.of(MACS), RowSketch.of(MACS, max_rows=30_000)
    strangers = np.random.default_rng(1).integers(0, 2**64, 5_000, dtype=np.uint64)
    for sketch in (whole, sample):
        assert sketch.overlaps(RowSketch.of(MACS[:300]))
        assert RowSketch.of(np.concatenate([MACS[:300], strangers])).overlaps(sketch)
        assert not sketch.overlaps(RowSketch.of(strangers))
        assert not sketch.overlaps(RowSketch.of(np.concatenate([MACS[:1], strangers[:10]])))


def test_up_to_ten_rows_or_one_percent_are_accident():
    strangers = np.random.default_rng(1).integers(0, 2**64, 20_000, dtype=np.uint64)
    for shared, size, found in ((10, 15, False), (11, 15, True), (200, 20_000, False), (201, 20_000, True)):
        other = RowSketch.of(np.concatenate([MACS[:shared], strangers[: size - shared]]))
        assert RowSketch.of(MACS).overlaps(other) is found


def test_a_union_holds_the_rows_of_both_at_the_coarser_sample():
    one, two = RowSketch.of(MACS[:1000], level=2), RowSketch.of(MACS[1000:3000])
    together = one.union(two)
    assert together.level == 2
    assert set(together.macs) == {mac for mac in MACS[:3000] if mac < 2**62}
