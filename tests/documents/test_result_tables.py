"""Tables that the documents quote are those of the reports that an experiment's command wrote."""

import json
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
RESULTS, FLOW = ((ROOT / "docs" / name).read_text() for name in ("results.md", "flow.md"))


class Table(NamedTuple):
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def only(self, *columns):
        """Rows with the named columns alone; a repeated name stands for its next occurrence."""
        places, taken = [], {}
        for name in columns:
            places.append(self.header.index(name, taken.get(name, -1) + 1))
            taken[name] = places[-1]
        return [tuple(row[i] for i in places) for row in self.rows]


def tables(text):
    """Tables of a page, in order."""
    found, lines = [], []
    for line in [*text.splitlines(), ""]:
        if line.startswith("|"):
            lines.append(tuple(cell.strip() for cell in line.strip().removeprefix("|").removesuffix("|").split("|")))
        elif lines:
            found.append(Table(lines[0], tuple(lines[2:])))
            lines = []
    return found


MIXED = ("below_line_nats", "penalty", "gain_units")


def section(text, heading):
    """What stands under a heading, to the next of its rank."""
    return text[text.index(f"\n## {heading}\n") :].split("\n## ")[1]


def report(name):
    return (ROOT / "experiments" / name).read_text()


def test_a_table_is_read_as_it_stands():
    (one,) = tables("text\n\n| a | moved | b | moved |\n|---|---|---|---|\n| 1 | 2 |  | 4 |\n\nmore")
    assert one == Table(("a", "moved", "b", "moved"), (("1", "2", "", "4"),))
    assert one.only("a", "moved", "moved") == [("1", "2", "4")]


def test_how_long_a_lane_has_to_train():
    (quoted,) = tables(section(RESULTS, "How long a lane has to train"))
    (measured,) = tables(report("convergence/README.md"))
    longest = {row[0]: row for row in sorted(measured.rows, key=lambda row: int(row[1]))}
    rows = tuple(row for row in measured.rows if row == longest[row[0]])
    columns = ("lambda", "updates", "shortfall, units", "moved", "exact, nats", "moved")
    assert list(quoted.rows) == Table(measured.header, rows).only(*columns)
    assert quoted.header == ("lambda", "updates", "shortfall, units", "moved", "exact, nats", "moved")


def test_whether_there_is_a_better_policy():
    page = report("frontier/README.md")
    sections = ("Learned policies beside it", "Lanes of the main sweep beside it, exact_quiet_5")
    for quoted, name in zip(tables(section(RESULTS, "Is there a better policy?")), sections, strict=True):
        (measured,) = tables(section(page, name))
        assert measured.header[:2] == ("lambda", "seed")
        assert quoted.header == (*measured.header[:1], *measured.header[2:])
        assert list(quoted.rows) == [(row[0], *row[2:]) for row in measured.rows]


def test_what_the_trader_is_charged():
    (quoted,) = tables(section(RESULTS, "What the trader is charged"))
    (measured,) = tables(section(report("exact/README.md"), "What the trader is charged"))
    assert list(quoted.rows) == measured.only(*quoted.header)


def test_how_detectability_falls():
    """Cost, information and share done of each start, at the penalties that the page picks, and what the text says."""
    (quoted,) = tables(section(RESULTS, "How detectability falls, as far as it is measured"))
    page = report("main_sweep/README.md")
    measured = [tables(section(page, f"exact, {start}"))[0] for start in ("loud", "quiet")]
    assert quoted.header == ("lambda", "loud: C", "I", "done", "quiet: C", "I", "done")
    columns = ("lambda", "shortfall, units", "exact, nats", "completion")
    rows = [{row[0]: row[1:] for row in table.only(*columns)} for table in measured]
    assert len(quoted.rows) >= 9
    assert list(quoted.rows) == [(row[0], *rows[0][row[0]], *rows[1][row[0]]) for row in quoted.rows]
    (paired,) = tables(section(page, "exact, loud less exact, quiet"))
    apart = {row[0]: row[1:] for row in paired.only("lambda", "I, nats", "C + lambda I")}
    told = " ".join(section(RESULTS, "How detectability falls, as far as it is measured").split())
    nats = [apart[penalty][0] for penalty in ("0.5", "0.794", "1.26", "0.198")]
    assert f"{nats[0]} nats more at 0.5, {nats[1]} at 0.79 and {nats[2]} at 1.26" in told
    assert f"At 0.2 the difference is {nats[3]}." in told
    at_2, at_20 = (apart[penalty][1] for penalty in ("2", "20.2"))
    assert f"lower by {at_2} at 2 and by {at_20} at 20" in told
    answer = json.loads(report("main_sweep/answer.json"))
    located, longest = answer["located"]["exact, loud"], answer["hull_with_longest"]["straight"]
    assert f"it is {longest['size_nats']:.2f} nats long (p = {longest['p_value']:.2f})" in told
    straight, likely = located["trade_off"]["frontier"]["straight"], located["log_likelihood_per_seed"]
    assert (
        f"up to {straight['size_nats']:.2f} nats cannot be excluded at `lambda` = {straight['penalty']:.2f}.**" in told
    )
    assert f"by more than their noise (p = {straight['p_value']:.2f})" in told
    assert f"The line is {straight['size_nats']:.2f} nats long" in told
    assert f"({likely['logistic']:.1f} and {likely['hyperbola']:.1f} nats of log-likelihood)" in told
    assert f"a step of the whole fall far worse ({likely['step']:.1f})" in told


def test_a_private_mix_of_the_ends():
    rows = [json.loads(line) for line in report("frontier/mix.jsonl").splitlines()]
    told = " ".join(section(RESULTS, "How detectability falls, as far as it is measured").split())
    ends = {name: (min(values), max(values)) for name, values in ((n, [row[n] for row in rows]) for n in MIXED)}
    (nats, penalty, units), lower = ends.values(), min(row["intervals"]["below_line_nats"][0] for row in rows)
    assert f"finds {nats[0]:.3f} to {nats[1]:.3f} nats less than the line" in told
    assert f"tie, at {penalty[0]:.2f} to {penalty[1]:.2f}, the mix saves {units[0]:.3f} to {units[1]:.3f} units" in told
    assert lower > 0.034
    assert len(rows) == 4 == len({row["seed"] for row in rows})


def test_what_was_asked_of_the_main_sweep():
    asked = tables(section(report("main_sweep/README.md"), "Hypotheses"))
    quoted = tables(section(RESULTS, "What was asked of the main sweep"))
    assert [len(table.rows) for table in quoted] == [7, 5]
    columns = ("hypothesis", "unit", "mean", "p, corrected", "reading")
    for table, told in zip(asked, quoted, strict=True):
        for (claim, unit, mean, p, reading), row in zip(table.only(*columns), told.rows, strict=True):
            word = unit.partition(",")[0]
            there = f"{mean} {word}" if word in ("nats", "units") else mean
            assert row == (claim, there, p if float(p) >= 1e-4 else "< 0.0001", reading)


def test_kyle_on_the_book():
    quoted, measured = tables(section(RESULTS, "Kyle on the book")), tables(report("kyle/kyle.md"))
    assert len(quoted) == 4
    assert quoted == measured


def test_the_first_run():
    names = {
        "implementation shortfall, ticks per parent lot": "execution/shortfall_ticks",
        "completion": "execution/completion",
        "information, exact, nats; of the first 512": "information/exact_nats",
        "accuracy of whoever knows the policy": "information/exact_accuracy",
        "found by a fresh detector, nats": "information/fresh_nats",
        "its accuracy": "information/fresh_accuracy",
        "claimed by the maker's belief, nats": "information/belief_nats",
        "claimed by MINE, nats": "information/mine_nats",
    }
    document = json.loads(report("first_run/evaluation.json"))
    assert document["n_read_exactly"] == 512
    quoted, waits = tables(section(RESULTS, "The first run"))
    expected = {name: document["metrics"][metric] for name, metric in names.items()}
    assert dict(quoted.rows) == {name: f"{row['value']:.3f} ± {row['stderr']:.3f}" for name, row in expected.items()}
    assert f"commit `{document['provenance']['commit'][:10]}`" in section(RESULTS, "The first run")
    seconds = json.loads(report("first_run/seconds.json"))["seconds"].values()
    marks = ("first line", "first update", "closing table", "end, with the figures")
    assert [row[1:3] for row in waits.rows] == [tuple(f"{run[mark]:.0f}" for run in seconds) for mark in marks]


@pytest.mark.parametrize(("law", "noise"), [("table", "table"), ("recorded", "the day itself")])
def test_what_a_trader_leaks_in_a_recorded_day(law, noise):
    """Digits are the page's own, so its numbers are compared with the file that the report reads."""
    policies = json.loads(report(f"flow/trained_{law}_GOOG.json"))["policies"]
    (quoted,) = tables(section(FLOW, "What has been measured"))
    said = {row[1].lower(): row[2:] for row in quoted.rows if row[0] == noise}
    assert set(said) == {"learned", "twap"}
    for policy, cells in said.items():
        row = policies[policy]
        exact, found, cost = (
            f"{row[name]['value']:.3f} ± {row[name]['stderr']:.3f}"
            for name in ("exact_nats", "information_nats", "shortfall_ticks")
        )
        assert cells == (f"not known: {exact} by the fitted law" if law == "recorded" else exact, found, cost)
