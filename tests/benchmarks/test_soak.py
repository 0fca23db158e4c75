import os

from benchmarks import soak
from benchmarks.soak import Sample


def samples(late_rss=100, late_descriptors=20, late_threads=6):
    early = [Sample(at, 100 << 20, 20, 6) for at in range(20, 30)]
    return early + [Sample(at, late_rss << 20, late_descriptors, late_threads) for at in range(90, 100)]


def verdict(found, workers=1):
    return {row["figure"]: row["met"] for row in soak.verdicts(found, 100, workers)}


def test_what_stays_flat_passes():
    assert verdict({1: samples(late_rss=105)}) == {"RSS, MiB": "✓", "descriptors": "✓", "threads": "✓"}


def test_growth_is_found():
    assert verdict({1: samples(late_rss=106)})["RSS, MiB"] == "✗"
    assert verdict({1: samples(late_descriptors=40)})["descriptors"] == "✗"
    assert verdict({1: samples(late_threads=12)})["threads"] == "✗"


def test_a_worker_that_ended_is_found():
    assert verdict({1: samples(), 2: samples()[:10]}, workers=2)["was there all the time"] == "✗"
    assert verdict({1: samples()}, workers=2)["workers seen"] == "✗"


def test_a_process_is_sampled():
    taken = soak.sample(os.getpid(), 1.5)
    assert taken.at_s == 1.5 and taken.rss_bytes > 2**20 and taken.descriptors > 0 and taken.threads >= 1
