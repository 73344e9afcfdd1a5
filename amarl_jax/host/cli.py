"""The entry point that every command shares: parses flags, reports each error in one line, returns an exit code.

| exit code | meaning |
|---|---|
| 0 | done |
| 1 | the machine failed (disk full, no permission, out of memory) |
| 2 | bad input |
| 3 | diverged |
| 4 | lanes of a sweep diverged, the others are done |
| 75 | preempted; ``--resume`` continues |
"""

import errno
import gc
import io
import os
import re
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections.config_flags import DEFINE_config_file, get_override_values

from amarl_jax import config as configuration
from amarl_jax.config import files as config_files
from amarl_jax.config.settings import ESTIMATOR, SETTINGS, whole
from amarl_jax.errors import BadInput, ConfigError, Diverged, LanesFailed, Preempted
from amarl_jax.host import compile_ahead
from amarl_jax.host.output import lasting_output, lost
from amarl_jax.host.preemption import AT_ONCE, STOPPED, StopRequest, end_process
from amarl_jax.host.workdir import Run, open_run

_MACHINE_TROUBLE = (
    "RESOURCE_EXHAUSTED",
    "No space left on device",
    "can't start new thread",
    "DEADLINE_EXCEEDED",  # of another host
)
_OF_A_PATH = (errno.ENAMETOOLONG, errno.ELOOP, errno.EEXIST, errno.ENOTDIR, errno.EISDIR)  # the user's doing
_WIDTH = 100  # columns of --help
_COLLECTOR = (50_000, 20, 50)  # of a command's process: tracing makes many objects and hardly a cycle
_EXIT_CODES = """Exit codes: 0 done, 1 the machine failed (disk, memory, permission), 2 bad input, 3 diverged,
4 lanes of a sweep diverged and the others are done, 75 stopped by a signal and saved: --resume."""
_LONGEST = 2000  # characters of an error's line: one that names every array that differs is long
_LONGEST_NAME, _LONGEST_PATH = 255, 4095  # bytes, what Linux takes
_OVERRIDE = re.compile(r"--?(?:no)?config\.([^=]+)")
_REJECTED = re.compile(r"flag --config\.([\w.]+)=(.*?): .*", re.DOTALL)


def define_run_flags(values: flags.FlagValues, argv: Sequence[str]) -> None:
    """Flags of a command that makes a run: configuration, workdir, resume, dry run."""
    DEFINE_config_file(
        "config",
        default=None,
        help_string="Configuration, PATH or PATH:VARIANT, for example configs/fast_debug.py; after it "
        "--config.SECTION.NAME=VALUE overrides a setting. configs/default.py names them all, with meaning and unit.",
        flag_values=values,
        lock_config=True,
        sys_argv=list(argv),
    )
    flags.DEFINE_string("workdir", None, "Folder for everything the run writes; default runs/<exp_name>.", values)
    flags.DEFINE_boolean("resume", False, "Continue the run in --workdir from its latest checkpoint.", values)
    flags.DEFINE_boolean("dry_run", False, "Check the input, say what would run at what cost, write nothing.", values)
    define_estimator(values)


def define_estimator(values: flags.FlagValues) -> None:
    """Define the flag that names a user's own estimator, which a workdir alone may not name."""
    flags.DEFINE_string("estimator", None, f"Your own estimator, the setting {ESTIMATOR}.", values)


def run(
    main: Callable[[flags.FlagValues], None],
    usage: str,
    define: Callable[[flags.FlagValues, Sequence[str]], None] = define_run_flags,
    argv: Sequence[str] | None = None,
) -> int:
    """Parse ``argv``, call ``main`` with the flags, return the exit code; every expected error is one line."""
    whole_process = argv is None
    argv = list(sys.argv if argv is None else argv)
    if whole_process:
        gc.set_threshold(*_COLLECTOR)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a character the terminal cannot show must not end a run
    with lasting_output() as streams:
        code = _run(main, usage, define, argv, whole_process)
        failed = lost(streams)
        code = _report(failed, {Exception: 1}) if failed is not None and code == 0 else code
        if whole_process and (code == STOPPED or compile_ahead.at_work()):
            end_process(code)
    return code


def _run(
    main: Callable[[flags.FlagValues], None],
    usage: str,
    define: Callable[[flags.FlagValues, Sequence[str]], None],
    argv: list[str],
    whole_process: bool,
) -> int:
    try:
        with StopRequest(whole_process):
            values = parse(define, argv)
            if values.help:
                print(help_text(usage, values))
                return 0
            main(values)
    except Preempted as stopped:  # requested, so not an error
        print(" ".join(str(stopped).split()), file=sys.stderr)
        return STOPPED
    except KeyboardInterrupt:
        print(AT_ONCE, file=sys.stderr)
        return STOPPED
    except (BadInput, Diverged, LanesFailed) as error:
        return _report(error, {BadInput: 2, Diverged: 3, LanesFailed: 4})
    except (OSError, MemoryError) as error:
        return _report(error, {Exception: 2 if getattr(error, "errno", None) in _OF_A_PATH else 1})
    except Exception as error:
        if any(sign in str(error) for sign in _MACHINE_TROUBLE):
            return _report(error, {Exception: 1})
        raise
    return 0


def parse(define: Callable[[flags.FlagValues, Sequence[str]], None], argv: list[str]) -> flags.FlagValues:
    """Flags from ``argv``; raises :class:`BadInput` for all that absl and ml_collections raise."""
    values = flags.FlagValues()
    flags.DEFINE_boolean("help", False, "Show this text.", values, short_name="h")
    try:
        argv = _find_configs(_plain(argv))
        define(values, argv)
        rest = values(argv)
    except flags.Error as error:
        rejected = _REJECTED.fullmatch(str(error))
        if rejected and rejected[1] in SETTINGS:
            raise ConfigError(rejected[1], rejected[2], SETTINGS[rejected[1]].allowed) from None
        raise BadInput(f"{str(error).removeprefix('ERROR:: ')}{_setting_meant(error)}") from None
    except BadInput:
        raise
    except (TypeError, ValueError, KeyError, AttributeError, OSError) as error:
        raise BadInput(str(error)) from None
    if rest[1:]:
        raise BadInput(f"unexpected argument {rest[1]!r}; settings are given as --config.NAME=VALUE")
    return values


def open_from_flags(
    values: flags.FlagValues,
    settings: Mapping[str, Any] | None = None,
    n_devices: int | None = None,
    command: str = "train",
    from_weights: bool = False,
    resume: bool = False,
    check: Callable[[configuration.Experiment], None] = lambda experiment: None,
) -> Run:
    """The run that the flags of :func:`define_run_flags` ask for; the other arguments come from other flags.

    ``check`` raises :class:`BadInput` for an experiment that the command cannot start.
    """
    overrides: dict[str, Any] = dict(settings or {})
    if values.estimator is not None:
        overrides[ESTIMATOR] = values.estimator
    if values.config is not None:
        given = get_override_values(values["config"])
        for name, value in overrides.items():
            if name in given and given[name] != value:
                raise ConfigError(name, given[name], f"{value!r}, which its own flag was set to")
        overrides = given | overrides
        configuration.apply_own_flow(values.config, overrides)
        configuration.apply_overrides(values.config, overrides)  # once more: one value may have been given twice
        if not (values.resume or resume):
            check(configuration.resolve(values.config))
    options = {"resume": values.resume or resume, "dry_run": values.dry_run, "n_devices": n_devices}
    workdir = None if values.workdir is None else user_path("--workdir", values.workdir)
    return open_run(values.config, workdir, overrides=overrides, command=command, from_weights=from_weights, **options)


def user_path(name: str, value: str) -> Path:
    """The path that flag ``name`` was given, with ``$VARIABLE`` and ``~`` replaced where no shell did it.

    Raises :class:`BadInput` where it is empty, a variable or a user's home is not known, or no file system takes it.
    """
    path = os.path.expanduser(os.path.expandvars(value))
    if not path.strip():
        raise BadInput(f"{name}={value}: is empty, must be a path")
    if "$" in path:
        raise BadInput(f"{name}={value}: holds a variable that is not set, must be a path without $")
    if path.startswith("~"):
        raise BadInput(f"{name}={value}: begins with the home of nobody known here; a file of that name is ./{path}")
    names = os.fsencode(path).split(b"/")
    if "\0" in path or len(b"/".join(names)) > _LONGEST_PATH or max(map(len, names)) > _LONGEST_NAME:
        raise BadInput(f"{name}={value}: must be names of at most {_LONGEST_NAME} bytes, {_LONGEST_PATH} together")
    return Path(path)


def folder_to_write(name: str, folder: Path) -> Path:
    """The folder given by flag ``name``; raises :class:`BadInput` before the work where it cannot be made."""
    there = next(path for path in (folder, *folder.absolute().parents) if path.is_symlink() or path.exists())
    if not there.is_dir():
        raise BadInput(f"{name} {folder}: {there} is not a folder")
    return folder


def help_text(usage: str, values: flags.FlagValues) -> str:
    """A command's documentation, its flags with the values they take, and the exit codes."""
    names = [name for name in values if len(name) > 1 and "." not in name]  # no -h; no setting as a flag of its own
    names.sort(key=lambda name: (name == "help", name != "config", name))
    forms = {name: f"  --{name}{_value_of(values[name])}" for name in names}
    indent = max(map(len, forms.values())) + 2
    lines = [usage.strip().replace("``", ""), "", "Flags:"]
    for name, form in forms.items():
        text = form.ljust(indent) + _meaning(values[name])
        lines.append(textwrap.fill(text, _WIDTH, subsequent_indent=" " * indent, break_on_hyphens=False))
    return "\n".join([*lines, "", _EXIT_CODES])


_VALUES = {  # shown behind flags whose text is no path
    "estimator": "=MODULE:NAME",
    "label": "=COLUMN",
    "episode": "=COLUMN",
    "columns": "=NAMES",
    "instrument": "=NAME",
    "runs": "=FOLDERS",
}


def _value_of(flag: flags.Flag) -> str:
    """The value shown behind a flag's name."""
    if isinstance(flag, flags.EnumFlag):
        return "=" + "|".join(flag.parser.enum_values)
    if flag.name in _VALUES:
        return _VALUES[flag.name]
    kind = flag.flag_type() if flag.name != "config" else "string"
    return {"bool": "", "int": "=N", "float": "=X", "string": "=PATH"}[kind]


def _meaning(flag: flags.Flag) -> str:
    """A flag's help, with its default where it has one."""
    help_string = re.sub(r"^<[^>]*>: ", "", flag.help)  # the choices, which absl prepends and _value_of shows
    shows = flag.default not in (None, False) and "default" not in help_string
    return f"{help_string} Default {flag.default}." if shows else help_string


def _plain(argv: list[str]) -> list[str]:
    """``argv`` with files of flags read, every argument valid text for a file, whole numbers without exponents."""
    values = flags.FlagValues()
    argv = [*argv[:1], *values.read_flags_from_files(argv[1:])]
    for argument in argv:
        if argument.encode(errors="ignore").decode() != argument:
            raise BadInput(f"{argument!r}: must be text in UTF-8")
    return [_without_exponent(argument) for argument in argv]


def _without_exponent(argument: str) -> str:
    """``--config.NAME=1e6`` as 1000000 where the setting is an integer."""
    flag, equals, text = argument.partition("=")
    name = _OVERRIDE.match(argument)
    if not equals or name is None or name[1] not in SETTINGS or SETTINGS[name[1]].kind != "int":
        return argument
    try:
        number = whole(float(text), "int")
    except (ValueError, OverflowError):
        return argument
    return f"{flag}={number}" if isinstance(number, int) and not re.fullmatch(r"[+-]?\d+", text) else argument


def _find_configs(argv: list[str]) -> list[str]:
    """``argv`` with the configuration's path looked up, after a first check of it and of every override's name."""
    found, paths = list(argv), 0
    for i, argument in enumerate(argv):
        if argument in ("--config", "-config") and i + 1 < len(argv):
            found[i + 1], paths = _find_config(argv[i + 1]), paths + 1
        elif re.match(r"--?config=", argument):
            flag, _, path = argument.partition("=")
            found[i], paths = f"{flag}={_find_config(path)}", paths + 1
        elif override := _OVERRIDE.match(argument):
            configuration.check_name(override[1])
            if not paths:
                raise BadInput(f"{argument}: give --config=PATH first")
    return found


def _find_config(argument: str) -> str:
    configuration.load(argument)
    path, colon, variant = argument.partition(":")
    return f"{config_files.find(path)}{colon}{variant}"


def _setting_meant(error: flags.Error) -> str:
    """A hint, where an unknown flag is a setting without its prefix."""
    name = getattr(error, "flagname", None)
    meant = [setting for setting in SETTINGS if name and setting.rpartition(".")[2] == name]
    return f"; the setting is --config.{meant[0]}" if len(meant) == 1 else ""


def _report(error: BaseException, codes: dict[type[Exception], int]) -> int:
    line = " ".join(str(error).split()) or type(error).__name__
    print(f"error: {line if len(line) <= _LONGEST else line[:_LONGEST] + ' ...'}", file=sys.stderr)
    return next(code for kind, code in codes.items() if isinstance(error, kind))
