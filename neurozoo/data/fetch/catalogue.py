"""Data sets that ``neurozoo data fetch`` downloads: their files, URLs and terms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from neurozoo.data.importers.common import CMU_MOSEI, POM
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
    """

    name: str
    url: str
    path: str
    usual: bool = True
    hosts: tuple[str, ...] = ()


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
