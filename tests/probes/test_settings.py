import pytest
import yaml

from lookback.errors import UserError
from lookback.runtime.instantiate import instantiate
from tests.conftest import ROOT

SHIPPED = {
    path.stem: yaml.safe_load(path.read_text(encoding="utf-8"))
    for path in sorted((ROOT / "conf/probe").glob("*.yaml"))
}
COUNTS = [
    (probe, setting)
    for probe, config in SHIPPED.items()
    for setting, value in config.items()
    if type(value) is int
]


@pytest.mark.parametrize(("probe", "setting"), COUNTS)
def test_a_count_of_none_is_refused_by_its_name_before_anything_is_measured(probe, setting):
    with pytest.raises(UserError, match=f"`{setting}` is 0"):
        instantiate({**SHIPPED[probe], setting: 0})


@pytest.mark.parametrize("probe", SHIPPED)
def test_the_shipped_settings_are_taken(probe):
    instantiate(SHIPPED[probe])
