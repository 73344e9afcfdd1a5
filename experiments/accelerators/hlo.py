"""An optimised program's text: what each instruction is part of, how often its loops run, what it moves."""

import dataclasses
import re

from amarl_jax.learn.cost import PARTS

BYTES = {"pred": 1, "s8": 1, "u8": 1, "s16": 2, "u16": 2, "bf16": 2, "f16": 2, "s64": 8, "u64": 8, "f64": 8}  # else 4
_SHAPE = re.compile(r"\b(pred|[a-z]+\d+\w*)\[([\d,]*)\]")
_LINE = re.compile(r"\s+(ROOT )?%([\w.\-]+) = (.+?) ([a-z][\w\-]*)\((.*)$")
_START = re.compile(r"(?:ENTRY )?%([\w.\-]+) \(.*\{$")
_READS_A_PART = ("dynamic-slice", "gather", "slice")
COLLECTIVES = ("all-reduce", "all-gather", "all-to-all", "collective-permute", "reduce-scatter")


@dataclasses.dataclass(frozen=True)
class Instruction:
    """One line of a computation."""

    name: str
    shape: str
    operation: str
    operands: tuple[str, ...]
    text: str  # all behind the opening bracket
    is_root: bool

    @property
    def part(self) -> str | None:
        """The innermost named scope it is in; None where it says nothing."""
        named = re.search(r'op_name="([^"]*)"', self.text)
        scopes = re.split(r"[/()]", named[1]) if named else []
        return next((scope for scope in reversed(scopes) if scope in PARTS), None)

    @property
    def frame(self) -> int | None:
        """The line of Python that it is from, a key of :func:`files`; of a fusion, where its result is from."""
        numbered = re.search(r"stack_frame_id=(\d+)", self.text)
        return int(numbered[1]) if numbered else None

    @property
    def trips(self) -> int | None:
        """How often a loop runs; None where that depends on data."""
        known = re.search(r'"known_trip_count":\{"n":"(\d+)"', self.text)
        return int(known[1]) if known else None

    @property
    def called(self) -> str | None:
        """The computation of a fusion."""
        named = re.search(r"calls=%([\w.\-]+)", self.text)
        return named[1] if named else None


def read(text):
    """{computation: {instruction name: :class:`Instruction`}} of a module."""
    computations, current = {}, None
    for line in text.splitlines():
        if start := _START.match(line):
            current = computations.setdefault(start[1], {})
        elif current is not None and (found := _LINE.match(line)):
            root, name, shape, operation, rest = found.groups()
            inside = rest.split(")", 1)[0]
            operands = tuple(re.findall(r"%([\w.\-]+)", inside))
            current[name] = Instruction(name, shape, operation, operands, rest, bool(root))
    return computations


def files(text, package="amarl_jax"):
    """{frame: the file, within the package, of the innermost line of its stack that is in the package} of a module."""
    names, places, frames = (_numbered(text, title) for title in ("FileNames", "FileLocations", "StackFrames"))
    found = {}
    for frame in frames:
        at, seen = frame, set()
        while at in frames and at not in seen:
            seen.add(at)
            place, above = map(int, re.findall(r"=(\d+)", frames[at]))
            name = names[int(re.search(r"file_name_id=(\d+)", places[place])[1])].strip('"')
            if f"/{package}/" in name:
                found[frame] = name.rsplit(f"/{package}/", 1)[1]
                break
            at = above - 1  # XLA counts from 1 here, and 1 stands for no frame above
    return found


def _numbered(text, title):
    """{number: the rest of its line} of one table at the head of a module."""
    section = re.search(rf"^{title}\n(.*?)\n\n", text, re.MULTILINE | re.DOTALL)
    lines = section[1].splitlines() if section else []
    return {int(number): rest for number, rest in (line.split(" ", 1) for line in lines)}


def entry(text):
    """Name of a module's entry computation."""
    return re.search(r"^ENTRY %([\w.\-]+)", text, re.MULTILINE)[1]


def size(shape):
    """Bytes of an array, or of all arrays of a tuple."""
    total = 0
    for kind, dimensions in _SHAPE.findall(shape):
        count = 1
        for dimension in filter(None, dimensions.split(",")):
            count *= int(dimension)
        total += count * BYTES.get(kind, 4)
    return total


def moved(instruction, computation, computations):
    """Bytes that an instruction reads and writes, at most; of what it slices, gathers or updates in place, that."""
    fused = computations.get(instruction.called or "")
    if fused is None:
        read_bytes = sum(size(computation[name].shape) for name in instruction.operands if name in computation)
        return read_bytes + size(instruction.shape)
    parameters = [inner for inner in fused.values() if inner.operation == "parameter"]
    return sum(_read(parameter, fused) for parameter in parameters) + _written(fused)


def _users(name, fused):
    """The instructions that read ``name``, those behind a bitcast included."""
    for user in fused.values():
        if name in user.operands:
            yield from _users(user.name, fused) if user.operation == "bitcast" else [(user, name)]


def _read(parameter, fused):
    total = 0
    for user, name in _users(parameter.name, fused):
        whole_is_first = user.operands[0] == name
        if whole_is_first and user.operation in _READS_A_PART:
            total += size(user.shape)
        elif not (whole_is_first and user.operation == "dynamic-update-slice"):
            return size(parameter.shape)
    return total


def _written(fused):
    (root,) = [inner for inner in fused.values() if inner.is_root]
    outputs = [fused[name] for name in root.operands if name in fused] if root.operation == "tuple" else [root]
    total = 0
    for output in outputs:
        while output.operation == "bitcast" and output.operands[0] in fused:
            output = fused[output.operands[0]]
        update = output.operation == "dynamic-update-slice" and output.operands[1] in fused
        total += size(fused[output.operands[1]].shape if update else output.shape)
    return total


def collectives(computations):
    """How many collective operations the text has."""
    return sum(
        instruction.operation.removesuffix("-start") in COLLECTIVES
        for computation in computations.values()
        for instruction in computation.values()
    )


NO_ESTIMATE = 2**50  # cycles, days of a TPU: where its compiler has none it writes numbers beyond


@dataclasses.dataclass
class Walk:
    """What one run of a program executes, counted over its loops: for compilers that leave no schedule."""

    operations: float = 0.0  # fusions, copies, scatters and the like
    cycles: float = 0.0  # of those to which the compiler gives an estimate
    without_cycles: float = 0.0  # operations to which it gives none
    unknown_loops: int = 0  # counted as one pass

    def run(self, computation, computations, times=1.0):
        """Add what a computation executes ``times`` times."""
        for instruction in computation.values():
            if instruction.operation in _NOTHING:
                continue
            inner = [computations[name] for name in _bodies(instruction) if name in computations]
            if instruction.operation == "while":
                trips = instruction.trips or _bound(instruction, computations)
                self.unknown_loops += trips is None
                for body in inner:
                    self.run(body, computations, times * (trips or 1))
            elif instruction.operation in ("conditional", "call", "async-start"):
                for branch in inner:
                    self.run(branch, computations, times / len(inner))
            else:
                told = re.search(r'"estimated_cycles":"(\d+)"', instruction.text)
                cycles = int(told[1]) if told and int(told[1]) < NO_ESTIMATE else None
                self.operations += times
                self.cycles += times * (cycles or 0)
                self.without_cycles += times if cycles is None else 0
        return self


def _bound(loop, computations):
    """The only integer that a loop's condition compares with, counting from 0; None where there is another number.

    The compiler of a TPU leaves no known trip count in the text.
    """
    named = re.search(r"condition=%([\w.\-]+)", loop.text)
    waiting, found = [named[1]] if named else [], []
    while waiting:
        for instruction in computations.get(waiting.pop(), {}).values():
            waiting += [instruction.called] if instruction.called else []
            if instruction.operation == "constant" and instruction.shape.startswith("s32[]"):
                found.append(int(instruction.text.split(")")[0]))
    return found[0] if len(found) == 1 else None


_NOTHING = ("parameter", "constant", "get-tuple-element", "tuple", "bitcast", "after-all", "async-done", "copy-done")


def _bodies(instruction):
    """Names of the computations that an instruction runs; of a loop without its condition."""
    named = re.findall(r"(?:body|to_apply|calls|true_computation|false_computation)=%([\w.\-]+)", instruction.text)
    branches = re.search(r"branch_computations=\{([^}]*)\}", instruction.text)
    return named + (re.findall(r"%([\w.\-]+)", branches[1]) if branches else [])
