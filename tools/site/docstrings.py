"""Docstrings as Markdown: what they refer to becomes links.

In the source they read as ``:rfc:`6455``` and ``:meth:`Connection.reply```; a ``::`` at
the end of a line announces code. A class that is put together from parts is shown as one.
"""

from __future__ import annotations

import re
from typing import Any

import griffe

ROLE = re.compile(r":(rfc|pep|class|meth|func|attr|data|mod):`(~?)([^`]+)`")
PACKAGE = "mongoose_py"
WHOLES = ("Connection", "Manager")  # made of parts: MqttConnection and its like


class Roles(griffe.Extension):
    """Translates the docstring of every object, and puts parts behind their whole."""

    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:
        """Give each whole the members of its parts, behind its own."""
        for name in WHOLES:
            whole: Any = pkg[name].final_target
            for part in whole.mro():
                for member in part.members:
                    whole.members.setdefault(member, part.members[member])
            whole.bases = []  # what is inherited would come first

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Translate the docstring of *obj*."""
        if obj.docstring is None:
            return

        def link(match: re.Match[str]) -> str:
            role, short, name = match.groups()
            if role == "rfc":
                return f"[RFC {name}](https://www.rfc-editor.org/rfc/rfc{name})"
            if role == "pep":
                return f"[PEP {name}](https://peps.python.org/pep-{name:0>4}/)"
            shown = name.rpartition(".")[2] if short else name
            call = "()" if role in ("meth", "func") else ""
            target = public_path(obj, name)
            return f"[`{shown}{call}`][{target}]" if target else f"`{shown}{call}`"

        text = ROLE.sub(link, obj.docstring.value)
        text = re.sub(r"^ *::\n", "", text, flags=re.MULTILINE)
        obj.docstring.value = text.replace("::\n", ":\n")


def public_path(obj: griffe.Object, name: str) -> str | None:
    """Return where the reference has *name*, as the docstring of *obj* means it."""
    first, _, rest = name.removeprefix(PACKAGE + ".").partition(".")
    if first in {str(export) for export in obj.package.exports or ()}:
        owner: Any = obj.package[first]
        if not rest or has_own_entry(owner, rest):
            return f"{PACKAGE}.{first}" + (f".{rest}" if rest else "")
        return f"{PACKAGE}.{first}"  # it stands in a list there
    owner = obj if obj.is_class else obj.parent
    if owner is not None and owner.is_class and has_own_entry(owner, name):
        whole = next((whole for whole in WHOLES if owner.name.endswith(whole)), owner.name)
        return f"{PACKAGE}.{whole}.{name}"
    return None


def has_own_entry(owner: griffe.Class, name: str) -> bool:
    """Whether *name* is a member of *owner* that has a docstring of its own."""
    member = owner.all_members.get(name)
    return member is not None and member.docstring is not None
