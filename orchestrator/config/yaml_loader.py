"""YAML with the scalars of YAML 1.2, and within limits: a small text may not become large, deep or code.

1e-3 is a number; yes and no are texts, because labels are often called so. A key that occurs twice is an error.
"""

import re
from typing import Any

import yaml
from yaml.composer import ComposerError

from orchestrator.config.errors import shown

MAX_VALUES = 20_000  # with each alias counted as what it stands for
MAX_DEPTH = 50
_TAG = "tag:yaml.org,2002:"
_FLOAT = r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
_SCALARS = {  # tag → its spellings, and what they may begin with; the first that fits wins
    "null": (r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    "bool": (r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    "int": (r"[-+]?[0-9]+", list("-+0123456789")),
    "float": (_FLOAT, list("-+.0123456789")),
    "merge": (r"<<", ["<"]),
}
_SPELLINGS = {_TAG + name: re.compile(rf"^(?:{pattern})$") for name, (pattern, _) in _SCALARS.items()}
_CONSTRUCTED = (*(_TAG + name for name in ("null", "bool", "int", "float", "str", "seq", "map")), None)  # None: refusal


def load_yaml(text: str) -> Any:
    """Return the value of a YAML text; yaml.YAMLError, with a line, where it is none or goes beyond the limits."""
    return yaml.load(text, _Loader)


def yaml_problem(error: yaml.YAMLError) -> str:
    """Return what is wrong with a YAML text, and where, in one line."""
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return " ".join(str(error).split())
    return f"line {mark.line + 1}, column {mark.column + 1}: {getattr(error, 'problem', error)}"


class _Loader(yaml.SafeLoader):
    """Safe YAML of the 1.2 core schema; refuses other tags, keys that occur twice, and what grows."""

    yaml_implicit_resolvers = {}  # noqa: RUF012 - PyYAML fills it below, for this class alone
    yaml_constructors = {tag: yaml.SafeLoader.yaml_constructors[tag] for tag in _CONSTRUCTED}  # noqa: RUF012

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._num_values = self._depth = 0
        self._sizes: dict[int, int] = {}  # of the nodes that are finished, by identity

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Compose a value, and count it; an alias counts as what it stands for."""
        event: Any = self.peek_event()
        before, self._depth = self._num_values, self._depth + 1
        if self._depth > MAX_DEPTH:
            raise ComposerError(None, None, f"more than {MAX_DEPTH} levels lie inside each other", event.start_mark)
        node: Any = super().compose_node(parent, index)
        if isinstance(event, yaml.AliasEvent):
            if id(node) not in self._sizes:
                raise ComposerError(None, None, f"{shown(event.anchor)} contains itself", event.start_mark)
            self._num_values += self._sizes[id(node)]
        else:
            self._num_values += 1
            self._sizes[id(node)] = self._num_values - before
            _require_spelling(node)
        if self._num_values > MAX_VALUES:
            raise ComposerError(None, None, f"the text stands for more than {MAX_VALUES:,} values", event.start_mark)
        self._depth -= 1
        return node

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """Compose a mapping; refuse a key that occurs twice."""
        node = super().compose_mapping_node(anchor)
        seen: dict[tuple[str, str], int] = {}
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if (key.tag, key.value) in seen:
                first = seen[key.tag, key.value] + 1
                raise ComposerError(
                    None, None, f"key {shown(key.value)} occurs twice, first in line {first}", key.start_mark
                )
            seen[key.tag, key.value] = key.start_mark.line
        return node


def _require_spelling(node: yaml.Node) -> None:
    """Refuse a value that a tag calls a number or the like, and that is none."""
    spelling = _SPELLINGS.get(node.tag)
    if spelling and not (isinstance(node, yaml.ScalarNode) and spelling.match(node.value)):
        raise ComposerError(None, None, f"the value is no {node.tag.removeprefix(_TAG)}", node.start_mark)


for _name, (_, _first) in _SCALARS.items():
    _Loader.add_implicit_resolver(_TAG + _name, _SPELLINGS[_TAG + _name], _first)
_Loader.add_constructor(_TAG + "int", lambda _, node: int(node.value))
