"""The benchmarks run: on a little data, and no time is looked at."""

import importlib
import pkgutil

import pytest

pytest.importorskip("torch", reason="the benchmarks stand npsnn beside PyTorch")
pytest.importorskip("snntorch", reason="and beside snnTorch")

import benchmarks
from tests.long.kills import write_images

OTHERS = {"benchmarks.peers.jax_scan", "benchmarks.peers.jelly"}  # need JAX and SpikingJelly
MODULES = {found.name for found in pkgutil.walk_packages(benchmarks.__path__, "benchmarks.")} - OTHERS


@pytest.mark.parametrize("name", sorted(MODULES))
@pytest.mark.filterwarnings("ignore")
def test_every_part_can_be_imported(name):
    importlib.import_module(name)


def test_peers_have_versions():
    from benchmarks import peers

    assert set(peers.versions(peers.PEERS)) == {"torch", "snntorch", "spikingjelly", "jax"}


@pytest.fixture
def few(tmp_path):
    """40 images to learn from, 16 to test with."""
    write_images(tmp_path)
    return {"data": str(tmp_path), "batch_size": 8, "num_steps": 3, "backend": "reference"}


@pytest.mark.filterwarnings("ignore")
def test_seeds_are_run_in_both_engines(few):
    from benchmarks.many_seeds import pair

    assert [len(both) for both in pair(0, 1, **few)] == [2]


def test_three_epochs_are_scored(few):
    from benchmarks.accuracy import trained

    assert [epoch.epoch for epoch in trained(0, **few)] == [1, 2, 3]
