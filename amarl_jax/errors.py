"""Errors that end a command early; ``cli.run`` turns each into one line and an exit code."""

import reprlib

_BRIEF = reprlib.Repr()
_BRIEF.maxtuple, _BRIEF.maxlist, _BRIEF.maxdict, _BRIEF.maxlong = 8, 8, 8, 60
_BRIEF.maxstring = _BRIEF.maxother = 300


class BadInput(Exception):
    """The user's input is wrong; the message is one line that says what to change. Exit code 2."""


class ConfigError(BadInput, ValueError):
    """A setting has a value it may not have.

    Attributes: ``field`` dotted name of the setting, ``value`` what was given, ``allowed`` what would be accepted.
    """

    def __init__(self, field: str, value: object, allowed: str) -> None:
        self.field, self.value, self.allowed = field, value, allowed
        super().__init__(f"{field} = {_brief(value)}: must be {allowed}")


class UnknownSetting(ConfigError):
    """No setting has this name; the message gives the nearest one, or why the name has no meaning here."""

    def __init__(self, field: str, hint: str) -> None:
        super().__init__(field, None, hint)
        self.args = (f"{field}: no such setting; {hint}",)


class CheckpointMismatch(BadInput, ValueError):
    """Saved parameters and the network that should take them have different shapes; names every differing leaf."""


class LawlessPolicy(BadInput, ValueError):
    """A policy did what has probability 0 by its own ``law()``, so its episodes cannot be read exactly."""


class Diverged(Exception):
    """A loss, gradient or parameter stopped being finite. Exit code 3."""


class LanesFailed(Exception):
    """Some lanes of a sweep diverged, the others are done; the message names them. Exit code 4."""


class Preempted(BaseException):
    """A command was asked to stop; what it trained is saved, and ``--resume`` continues it. Exit code 75.

    Like KeyboardInterrupt it is not an ``Exception``: it may be raised anywhere, and no library should catch it.
    """


def _brief(value: object) -> str:
    """Text of a given value, shortened in the middle where it is long."""
    try:
        return _BRIEF.repr(value)
    except ValueError:  # an integer of more digits than Python prints
        return "a number of thousands of digits"
