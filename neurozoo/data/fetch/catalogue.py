"""Data sets that ``neurozoo data fetch`` downloads: their files, URLs and terms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from neurozoo.data.importers.common import CMU_MOSEI, POM
from neurozoo.data.importers.events.data_sets import CIFAR10_DVS, N_MNIST
from neurozoo.data.importers.events.gesture import DVS128_GESTURE
from neurozoo.data.importers.events.shd import HEIDELBERG
from neurozoo.errors import UnknownNameError, UserError, suggestion

__all__ = ["CATALOGUE", "PublicData", "PublicFile", "find"]


@dataclass(frozen=True)
class PublicFile:
    """One file of a data set.

    Attributes:
        name: Its name for ``--only``.
        url: Its address, http or https.
        path: Its path within the data set's folder.
        usual: Whether it is fetched without ``--only``.
        hosts: Other hosts that its server may redirect to.
        layout: What its content is checked for, a name in ``layouts.LAYOUTS``; by default what its ending says.
    """

    name: str
    url: str
    path: str
    usual: bool = True
    hosts: tuple[str, ...] = ()
    layout: str = ""


@dataclass(frozen=True)
class PublicData:
    """A data set.

    Attributes:
        name: Its name in the catalogue.
        summary: Its content, in one line.
        files: Its files, with distinct names and paths.
        licence: The terms, and where to read them.
        citation: The publication to cite.
        next_command: Command to type after fetching; ``{folder}`` stands for the files' folder.
    """

    name: str
    summary: str
    files: tuple[PublicFile, ...]
    licence: str
    citation: str
    next_command: str

    def choose(self, only: Sequence[str]) -> tuple[PublicFile, ...]:
        """Return the files of these names; by default the usual ones.

        Raises:
            UserError: A name is unknown.
        """
        known = [file.name for file in self.files]
        for name in only:
            if name not in known:
                raise UserError(
                    f"{self.name} has no file {name!r}; there are: {', '.join(known)}{suggestion(name, known)}"
                )
        return tuple(file for file in self.files if (file.name in only if only else file.usual))


_CMU = "http://immortal.multicomp.cs.cmu.edu/CMU-MOSEI"
_SDK = "https://raw.githubusercontent.com/CMU-MultiComp-Lab/CMU-MultimodalSDK/3e27d3781fe38b660432c7edfa7912bd0d256ee1"
_FOLDS = "cmu_mosei_std_folds.py"
_MFN = "https://raw.githubusercontent.com/pliang279/MFN/900ae744f1a5d71c79df5784004e1b960ef84b08/new_data/pom"


_HEIDELBERG = "https://zenkelab.org/datasets"
_MENDELEY = "https://data.mendeley.com/public-files/datasets/468j46mzdv/files"
_MENDELEY_HOSTS = ("prod-dcd-datasets-public-files-eu-west-1.s3.eu-west-1.amazonaws.com",)
_FIGSHARE, _FIGSHARE_HOSTS = "https://ndownloader.figshare.com/files", ("s3-eu-west-1.amazonaws.com",)
_CIFAR10_DVS = {
    "airplane": 7712788,
    "automobile": 7712791,
    "bird": 7712794,
    "cat": 7712812,
    "deer": 7712815,
    "dog": 7712818,
    "frog": 7712842,
    "horse": 7712851,
    "ship": 7712836,
    "truck": 7712839,
}
"""Numbers of figshare's files, by class."""
_UNKNOWN_SUMS = "no checksum of the publisher's is known here, so that the first download's is recorded"


def _mosei(name: str, path: str, usual: bool = True) -> PublicFile:
    return PublicFile(name, f"{_CMU}/{path}", path, usual)


CATALOGUE: dict[str, PublicData] = {
    data.name: data
    for data in (
        PublicData(
            "cmu-mosei",
            "CMU-MOSEI's features as CMU-MultimodalSDK distributes them, for `data import csd`",
            (
                _mosei("labels", "labels/CMU_MOSEI_Labels.csd"),
                PublicFile(
                    "folds", f"{_SDK}/mmsdk/mmdatasdk/dataset/standard_datasets/CMU_MOSEI/{_FOLDS}", f"labels/{_FOLDS}"
                ),
                _mosei("glove", "language/CMU_MOSEI_TimestampedGloveVectors_with_SP.csd"),
                _mosei("word-vectors", "language/CMU_MOSEI_TimestampedWordVectors.csd", usual=False),
                _mosei("covarep", "acoustic/CMU_MOSEI_COVAREP.csd"),
                _mosei("facet", "visual/CMU_MOSEI_VisualFacet42.csd"),
                _mosei("openface", "visual/CMU_MOSEI_VisualOpenFace2.csd", usual=False),
            ),
            f"{CMU_MOSEI['licence']}: see LICENSE.txt of github.com/CMU-MultiComp-Lab/CMU-MultimodalSDK",
            CMU_MOSEI["citation"],
            "neurozoo data import csd {folder} DEST --labels {folder}/labels/CMU_MOSEI_Labels.csd "
            f"--folds {{folder}}/labels/{_FOLDS}",
        ),
        PublicData(
            "pom",
            "POM's audio and video features and scores as MFN distributes them, for `data import mfn`",
            tuple(
                PublicFile(f"{part}-{split}", f"{_MFN}/{part}_{split}.h5", f"{part}_{split}.h5")
                for part in ("y", "audio", "video")
                for split in ("train", "valid", "test")
            ),
            f"{POM['licence']}: see github.com/pliang279/MFN",
            POM["citation"],
            "neurozoo data import mfn {folder} DEST",
        ),
        PublicData(
            "shd",
            "Spiking Heidelberg Digits: 8,156 and 2,264 spoken digits as spikes of 700 channels, for `data import "
            f"shd`; {_UNKNOWN_SUMS}",
            tuple(
                PublicFile(split, f"{_HEIDELBERG}/shd_{split}.h5.gz", f"shd_{split}.h5.gz", layout="shd")
                for split in ("train", "test")
            ),
            f"{HEIDELBERG['licence']}: see zenkelab.org/resources/spiking-heidelberg-datasets-shd",
            HEIDELBERG["citation"],
            "neurozoo data import shd {folder} DEST",
        ),
        PublicData(
            "ssc",
            "Spiking Speech Commands: 75,466, 9,981 and 20,382 spoken words as spikes of 700 channels, for `data "
            f"import shd`; {_UNKNOWN_SUMS}",
            tuple(
                PublicFile(split, f"{_HEIDELBERG}/ssc_{split}.h5.gz", f"ssc_{split}.h5.gz", layout="shd")
                for split in ("train", "valid", "test")
            ),
            f"{HEIDELBERG['licence']}: see zenkelab.org/resources/spiking-heidelberg-datasets-shd",
            HEIDELBERG["citation"],
            "neurozoo data import shd {folder} DEST",
        ),
        PublicData(
            "n-mnist",
            "N-MNIST: 60,000 and 10,000 digits before a moving event camera, 34 x 34, for `data import n-mnist`; "
            f"{_UNKNOWN_SUMS}",
            (
                PublicFile(
                    "train",
                    f"{_MENDELEY}/39c25547-014b-4137-a934-9d29fa53c7a0/file_downloaded",
                    "Train.zip",
                    hosts=_MENDELEY_HOSTS,
                    layout="n-mnist",
                ),
                PublicFile(
                    "test",
                    f"{_MENDELEY}/05a4d654-7e03-4c15-bdfa-9bb2bcbea494/file_downloaded",
                    "Test.zip",
                    hosts=_MENDELEY_HOSTS,
                    layout="n-mnist",
                ),
            ),
            "CC BY-SA 4.0, share alike: see garrickorchard.com/datasets/n-mnist",
            N_MNIST["citation"],
            "neurozoo data import n-mnist {folder} DEST",
        ),
        PublicData(
            "cifar10-dvs",
            "CIFAR10-DVS: 1,000 pictures of each of ten classes before an event camera, 128 x 128, for `data import "
            f"cifar10-dvs`; {_UNKNOWN_SUMS}",
            tuple(
                PublicFile(name, f"{_FIGSHARE}/{number}", f"{name}.zip", hosts=_FIGSHARE_HOSTS, layout="cifar10-dvs")
                for name, number in _CIFAR10_DVS.items()
            ),
            f"{CIFAR10_DVS['licence']}: see figshare.com/articles/dataset/CIFAR10-DVS_New/4724671",
            CIFAR10_DVS["citation"],
            "neurozoo data import cifar10-dvs {folder} DEST",
        ),
        PublicData(
            "dvs128-gesture",
            "DVS128 Gesture as cut and repacked by others: 1,077 and 264 samples of eleven gestures, 128 x 128. The "
            "recordings themselves come by a form (research.ibm.com/interactive/dvsgesture): unpack DvsGesture.tar.gz, "
            f"`data import dvs128-gesture` takes them too; {_UNKNOWN_SUMS}",
            tuple(
                PublicFile(
                    split,
                    f"{_FIGSHARE}/{number}",
                    f"ibmGesture{split.title()}.tar.gz",
                    hosts=_FIGSHARE_HOSTS,
                    layout="dvs128-gesture",
                )
                for split, number in (("train", 38022171), ("test", 38020584))
            ),
            f"{DVS128_GESTURE['licence']}: see research.ibm.com/interactive/dvsgesture",
            DVS128_GESTURE["citation"],
            "for f in {folder}/*.tar.gz; do tar -xzf $f -C {folder}; done && "
            "neurozoo data import dvs128-gesture {folder} DEST",
        ),
    )
}


def find(name: str) -> PublicData:
    """Return the data set called ``name``.

    Raises:
        UnknownNameError: There is none.
    """
    if name not in CATALOGUE:
        raise UnknownNameError("public data set", name, CATALOGUE)
    return CATALOGUE[name]
