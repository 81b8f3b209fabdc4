"""Tables and arrays on disk, each naming the plans it came by.

`plans` maps a stage to the digest of its plan, the result's own and those upstream of it:
{"train": "3f…", "prepare": "9a…"}. Only a result whose plans are today's counts (summarise/);
`lineage` reads them back.
"""

import json
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from lookback.storage.atomic import atomic_write

Plans = Mapping[str, str]
_KEY = b"lookback.plans"


def write_parquet(path: str | os.PathLike[str], frame: pd.DataFrame, plans: Plans) -> None:
    """Write a frame without its index, whole or not at all."""
    table = pa.Table.from_pandas(frame, preserve_index=False)
    table = table.replace_schema_metadata(
        {**(table.schema.metadata or {}), _KEY: json.dumps(dict(plans), sort_keys=True).encode()}
    )
    with atomic_write(path) as temporary:
        pq.write_table(table, temporary)


def read_parquet(path: str | os.PathLike[str]) -> pd.DataFrame:
    """The frame that `write_parquet` wrote."""
    frame: pd.DataFrame = pq.read_table(path, use_threads=False).to_pandas()
    return frame


def write_npz(path: str | os.PathLike[str], arrays: Mapping[str, Any], plans: Plans) -> None:
    """Write named arrays, whole or not at all."""
    with atomic_write(path) as temporary:
        np.savez_compressed(
            temporary, **arrays, plans=np.array(json.dumps(dict(plans), sort_keys=True))
        )


def read_npz(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The arrays that `write_npz` wrote, without the plans."""
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files if name != "plans"}
