"""No class, function or module of the package has a name that another one has, but for those listed with the reason."""

import ast
import collections
from pathlib import Path

import amarl_jax

PACKAGE = Path(amarl_jax.__file__).parent
FILES = [path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py" and "configs" not in path.parts]

SAME_IN_EVERY_COMMAND = {
    "command",
    "define_flags",
    "main",
}  # what the commands have in common, and a name of provenance's
SAME_IDEA = {  # one meaning, in another game, for another law or on another object
    "accuracy",  # of a reader: measured, and in closed form
    "advance",  # a learner by updates, particles by a step
    "exact_log_posterior",  # of the market, of the covert game, of the Gaussian sender
    "execution_view",  # of a state, and of the features of one
    "fit",  # each to its own data; called by its module
    "init_memory",  # of the belief, of the detector's network
    "leverage",  # of a decision, and the optimal one
    "log_posterior",  # of scores, and of log-ratios
    "merge",  # of entries, of particles
    "play",  # of learned agents, of random ones
    "prior_entropy",  # traced, and in float64
    "register",  # a metric, an estimator
    "summarise",  # an episode, a detector's log-ratios
    "train",  # a run, the covert game, a belief of known posterior
    "update",  # of the market's learner, of the covert game's
}
CALLED_BY_MODULE = {  # read as ``module.name`` wherever they are used
    "at_work",
    "compare",
    "empty_episode",
    "estimate",
    "follow",
    "like",
    "load",
    "locate",
    "measure",
    "read",
    "read_episodes",
    "read_flow",
    "rows",
    "sample",
    "save",
}
CLASSES = {
    "Flow",
    "Training",
    "Verdict",
}  # of a day and of a file; of a known belief and of a checkpoint; of test and arm
STEMS = {"baselines", "curves", "game", "metrics", "replay", "state", "table"}  # in rooms that say which


def defined():
    """Modules by each public name that they define, and by their own."""
    found = collections.defaultdict(list)
    for path in FILES:
        found[f"module {path.stem}"].append(path)
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and not node.name.startswith("_"):
                found[node.name].append(path)
    return found


def test_a_public_name_means_one_thing():
    allowed = SAME_IN_EVERY_COMMAND | SAME_IDEA | CALLED_BY_MODULE | CLASSES | {f"module {stem}" for stem in STEMS}
    twice = {name: paths for name, paths in defined().items() if len(paths) > 1}
    said = [f"{name}: {[str(path.relative_to(PACKAGE)) for path in twice[name]]}" for name in twice.keys() - allowed]
    assert not said, "give one of them another name, or say here why both are called so"
    assert not allowed - twice.keys(), "no longer defined twice: take them off the list"
