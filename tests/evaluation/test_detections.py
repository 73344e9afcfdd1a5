"""Detectors of many sets of episodes are those that would have been trained one by one, on any number of devices."""

import dataclasses

import chex
import jax
import numpy as np
import pytest

from amarl_jax.evaluation import metrics
from amarl_jax.evaluation.metrics import fresh_detection
from amarl_jax.information.tape_detector import TapeDetectorSpec
from amarl_jax.lanes.detections import detect_each


@pytest.fixture
def sets(summaries, monkeypatch):
    """Five sets of 240 episodes of either policy, one with labels that say nothing, and a detector that is small."""
    monkeypatch.setattr(
        metrics, "DETECTOR", TapeDetectorSpec(hidden=(4,), n_folds=2, n_epochs=1, min_steps=60, n_checks=2)
    )
    parts = []
    for i in range(5):
        rows = jax.tree.map(lambda x, i=i: np.asarray(x)[240 * i : 240 * (i + 1)], summaries[("twap", "mimic")[i % 2]])
        parts.append(rows)
    parts[4] = dataclasses.replace(parts[4], z=np.random.default_rng(0).permutation(parts[4].z))
    return parts


@pytest.mark.parametrize("n_devices", [1, 3])
def test_many_detectors_are_those_trained_one_by_one(sets, n_devices, monkeypatch):
    keys, priors = list(jax.random.split(jax.random.key(3), 5)), [0.5, 0.5, 0.3, 0.5, 0.5]
    found = list(detect_each(keys, sets, priors, jax.devices()[:n_devices]))
    assert len(found) == 5
    for key, rows, prior, one in zip(keys, sets, priors, found, strict=True):
        alone = fresh_detection(jax.random.clone(key), rows, prior)
        chex.assert_trees_all_close(one, jax.tree.map(np.asarray, alone), atol=2e-4, rtol=0)
    assert float(found[0].accuracy) > 0.8 > 0.65 > float(found[4].accuracy), "a hasty TWAP, and shuffled labels"
