"""The closing table's words: which critic a run trained, and what its trader paid for."""

import pytest

from amarl_jax.evaluation.closing_report import closing_rows, warn_if_sources_disagree
from amarl_jax.evaluation.metrics import Evaluation, MetricValue
from amarl_jax.learn.hypers import LearnSpec


class Measured(dict):
    """Metrics of an evaluation, 0.5 unless said otherwise, without what no reader found."""

    def __missing__(self, name):
        return MetricValue(0.5, 0.125)


EVALUATION = Evaluation(Measured({"information/mine_nats": MetricValue(0.25, 0.125)}), 64, 32, None)
PRICED = "the critic that prices the leakage"


@pytest.mark.parametrize(
    ("estimator", "source", "critic", "belief"),
    [
        ("mine", "mine", PRICED, "claimed at the horizon"),
        ("my_estimators:ChiSquared", "mine", PRICED, "claimed at the horizon"),
        ("nwj", "belief", "of a critic that prices nothing", "claimed at the horizon, the price of the leakage"),
        ("mine", "exact", "of a critic that prices nothing", "claimed at the horizon"),
    ],
)
def test_the_table_names_the_critic_and_what_prices_the_leakage(estimator, source, critic, belief, capsys):
    learn = LearnSpec(mi_estimator=estimator, leakage_source=source)
    title, rows = closing_rows(EVALUATION, learn)
    assert "64 fresh episodes, 32 informed" in title
    said = {name: (value, meaning) for name, value, meaning in rows if name}
    name = "MINE" if estimator == "mine" else estimator
    assert said[name] == ("0.250 +- 0.125", f"nats, {critic}")
    assert said["maker's belief"] == ("0.500 +- 0.125", f"nats {belief}")
    assert ("MINE" in said) == (estimator == "mine")
    warn_if_sources_disagree(EVALUATION, learn)
    printed = capsys.readouterr().out
    assert f"held out, {name} claims 0.250 nats and the maker's belief 0.500: one of them lags" in printed


def test_a_critic_and_a_belief_that_agree_say_nothing(capsys):
    agreed = EVALUATION._replace(metrics=Measured({"information/mine_nats": MetricValue(0.49, 0.125)}))
    warn_if_sources_disagree(agreed, LearnSpec())
    assert not capsys.readouterr().out
