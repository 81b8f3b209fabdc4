"""Each default stands in one place: the YAML of conf/, and not in a constructor besides."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import yaml

from lookback.planning.constructor_signatures import Parameter, signature_of
from tests.conftest import ROOT

CONFIGS = sorted((ROOT / "conf").glob("*/*.yaml"))


def targets(node: Any) -> Iterator[Mapping[str, Any]]:
    """Every part of a config that names a class or function of ours."""
    if isinstance(node, dict):
        if str(node.get("_target_", "")).startswith("lookback."):
            yield node
        for value in node.values():
            yield from targets(value)


def repeated(config: Mapping[str, Any], parameters: Mapping[str, Parameter]) -> set[str]:
    return {name for name, it in parameters.items() if not it.required and name in config}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_constructor_has_no_default_for_what_the_yaml_says(path):
    for config in targets(yaml.safe_load(path.read_text(encoding="utf-8"))):
        assert not repeated(config, signature_of(config["_target_"]) or {})


def test_a_second_default_would_be_found():
    assert repeated({"layers": 2}, {"layers": Parameter(required=False)}) == {"layers"}
    assert sum(1 for path in CONFIGS for _ in targets(yaml.safe_load(path.read_text()))) > 30
