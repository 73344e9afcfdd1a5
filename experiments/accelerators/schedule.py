"""What a GPU is asked for, read off XLA's own schedule: launches, CUDA graphs and bytes by part of the program.

With ``--xla_dump_to`` XLA writes the sequence of thunks after its last pass, nested as it runs them, with a name for
each; the optimised program says how often its loops run and what its instructions are part of. A thunk inside a command
buffer is a node of a CUDA graph, one outside is a bare launch. A loop whose length depends on data counts as one pass.
"""

import dataclasses
import re
from collections import defaultdict

import hlo

_THUNK = re.compile(r"(\s*)(\d+): (k\w+)")
_LABEL = re.compile(r"(\s*)(condition|body|branch_\d+):\s*$")
CONTAINERS = ("kWhile", "kConditional", "kCommandBuffer", "kSequential")


@dataclasses.dataclass
class Thunk:
    """One entry of the schedule, with those inside it by label."""

    indent: int
    number: int
    kind: str
    inside: list[tuple[str, list["Thunk"]]] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Counts:
    """Launches and bytes of one run of a part."""

    nodes: float = 0.0  # launches inside of CUDA graphs
    graphs: float = 0.0  # launches of such graphs
    bare: float = 0.0  # launches outside of them
    bytes: float = 0.0  # read and written, at most

    @property
    def launches(self) -> float:
        """Kernels and copies, in graphs and outside."""
        return self.nodes + self.bare

    def add(self, more: "Counts") -> None:
        """Sum in place."""
        for field in dataclasses.fields(self):
            setattr(self, field.name, getattr(self, field.name) + getattr(more, field.name))


def parse(text):
    """The thunks of a schedule, nested."""
    top = Thunk(-1, -1, "kSequential", [("", [])])
    stack = [top]
    for line in text.splitlines():
        if thunk := _THUNK.match(line):
            new = Thunk(len(thunk[1]), int(thunk[2]), thunk[3])
            while stack[-1].indent >= new.indent:
                stack.pop()
            if not stack[-1].inside:
                stack[-1].inside.append(("", []))
            stack[-1].inside[-1][1].append(new)
            stack.append(new)
        elif label := _LABEL.match(line):
            depth = len(label[1])
            while depth and stack[-1].indent > depth - 2:  # but a loop's condition follows it, and stands at the margin
                stack.pop()
            stack[-1].inside.append((label[2].lower(), []))
    return top


def names(text):
    """{thunk number: name of its instruction} of XLA's thunk metadata."""
    pairs = re.findall(r'profile_annotation: "([^"]*)"\s+thunk_id: (\d+)', text)
    return {int(number): name for name, number in pairs}


class Counter:
    """Counts by part of the schedule of one program."""

    def __init__(self, named, computations, shares=(), files=None):
        """``shares``: how often each branch of a switch with that many is taken, in proportion; others count alike."""
        self.named, self.computations, self.shares, self.files = named, computations, list(shares), files or {}
        self.where = {
            name: (instruction, computation)
            for computation in computations.values()
            for name, instruction in computation.items()
        }
        self.parts = defaultdict(Counts)
        self.by_file = defaultdict(float)  # launches by the file that they are from, as far as XLA says
        self.unknown_loops = 0

    def count(self, thunk, part="other", times=1.0, in_graph=False):
        """Add what a thunk and those inside it launch."""
        instruction, computation = self.where.get(self.named.get(thunk.number, ""), (None, None))
        part = (instruction.part if instruction else None) or part
        if thunk.kind == "kCommandBuffer":
            self.parts[self._first_part(thunk, part)].graphs += times
            in_graph = True
        elif thunk.kind not in CONTAINERS:
            nodes = times if in_graph else 0.0
            size = hlo.moved(instruction, computation, self.computations) if instruction else 0
            self.by_file[self.files.get(instruction.frame if instruction else None, "")] += times
            self.parts[part].add(Counts(nodes=nodes, bare=times - nodes, bytes=times * size))
        weights = self._weights(thunk, instruction)
        for weight, (_, inner) in zip(weights, thunk.inside, strict=True):
            for one in inner:
                self.count(one, part, times * weight, in_graph)

    def _weights(self, thunk, instruction):
        """How often each list of thunks inside runs."""
        if thunk.kind == "kWhile":
            trips = instruction.trips if instruction else None
            self.unknown_loops += trips is None
            return [0 if trips and label == "condition" else trips or 1 for label, _ in thunk.inside]
        if thunk.kind == "kConditional":
            shares = self.shares if len(self.shares) == len(thunk.inside) else [1] * len(thunk.inside)
            return [share / sum(shares) for share in shares]
        return [1] * len(thunk.inside)

    def _first_part(self, thunk, part):
        """The part of a graph: that of its first node."""
        first = thunk.inside[0][1][0] if thunk.inside and thunk.inside[0][1] else thunk
        instruction, _ = self.where.get(self.named.get(first.number, ""), (None, None))
        return (instruction.part if instruction else None) or part
