"""The table of published data sets: the `DATASET` of each module of this package that has one.

A row may also be added at run time: `DATASETS["kitti"] = DataSet(name="kitti", …)`.
"""

import pkgutil
from importlib import import_module

import dacs.datasets
from dacs.datasets.base import DataSet
from dacs.datasets.custom import describe
from dacs.errors import BadRequest, nearest
from dacs.settings import CustomDomain

DATASETS: dict[str, DataSet] = {}
MODULES: dict[str, str] = {}  # data set → the module that its row is in


def dataset(name: str, custom: CustomDomain | None = None) -> DataSet:
    """The row of a data set, or what the table of a custom domain says. Raises BadRequest for an unknown name."""
    if custom:
        return describe(name, custom)
    if name not in DATASETS:
        raise BadRequest(f"'{name}' is not a data set; {nearest(name, DATASETS)}")
    return DATASETS[name]


for _module in pkgutil.iter_modules(dacs.datasets.__path__, "dacs.datasets."):
    if _row := getattr(import_module(_module.name), "DATASET", None):
        DATASETS[_row.name], MODULES[_row.name] = _row, _module.name
