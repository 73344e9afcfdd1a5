"""For the API reference: what this project's docstrings and comments mean to a reader of the site.

The comment behind a field, which says its axes and unit, is the field's documentation. Lines that a docstring indents
by two spaces after an empty line are code, as is what follows a ``::``.
"""

import re

import griffe

_COMMENT = re.compile(r"\s+#\s(.*)")
_CONTINUED = re.compile(r"(\s+)#\s+(.*)")
_INDENTED = re.compile(r"(?<=\n\n)(?:  \S.*\n?|  +\S.*\n?)+")


class Docstrings(griffe.Extension):
    """Applied to every module, once the package has been read."""

    def on_package(self, *, pkg: griffe.Module, **_) -> None:
        """Go through the whole package."""
        _visit(pkg)


def _visit(here: griffe.Module | griffe.Class) -> None:
    if here.docstring:
        here.docstring.value = readable(here.docstring.value)
    for member in here.members.values():
        if member.is_alias:
            continue
        if member.is_module or member.is_class:
            _visit(member)
        elif member.docstring:
            member.docstring.value = readable(member.docstring.value)
        elif member.is_attribute and here.is_class and (text := _comment_of(member)):
            member.docstring = griffe.Docstring(text, parent=member, lineno=member.lineno)


def readable(text: str) -> str:
    """A docstring in the Markdown of the site."""
    text = re.sub(r"::(?=\n\n)", ":", text)
    return _INDENTED.sub(lambda block: re.sub(r"(?m)^  (?=\S)", "    ", block[0]), text)


def _comment_of(field: griffe.Attribute) -> str:
    """The comment at the end of a field's line, with those of the comment lines that continue it, which begin further
    to the right than fields do: a line that begins where they do is the heading of the next ones.
    """
    if field.endlineno is None:
        return ""
    lines, line = field.lines_collection[field.filepath], field.endlineno
    found = _COMMENT.search(lines[line - 1])
    if found is None or found[1].startswith(("noqa", "type:")):
        return ""
    words, margin = [found[1]], len(lines[field.lineno - 1]) - len(lines[field.lineno - 1].lstrip())
    while line < len(lines) and (more := _CONTINUED.fullmatch(lines[line])) and len(more[1]) > margin:
        words.append(more[2])
        line += 1
    return " ".join(words)
