"""What ``neurozoo data fetch`` knows: whose files, where, and under which terms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from neurozoo.data.importers.mosei import CMU_MOSEI
from neurozoo.errors import UserError, nearest

__all__ = ["CATALOGUE", "PublicData", "PublicFile", "find"]


@dataclass(frozen=True)
class PublicFile:
    """One file.

    Attributes:
        name: What ``--only`` calls it.
        url: Where it is, http or https.
        path: Where it goes, within the data set's folder.
        usual: Whether it is fetched where ``--only`` is not given.
    """

    name: str
    url: str
    path: str
    usual: bool = True


@dataclass(frozen=True)
class PublicData:
    """A data set.

    Attributes:
        name: What it is called here.
        summary: What it is, in a line.
        files: Its files, each name and path once.
        licence: The terms, and where to read them.
        citation: What to cite.
        next_command: What to type when the files are there; ``{folder}`` is where they are.
    """

    name: str
    summary: str
    files: tuple[PublicFile, ...]
    licence: str
    citation: str
    next_command: str

    def choose(self, only: Sequence[str]) -> tuple[PublicFile, ...]:
        """The files of these names; by default the usual ones.

        Raises:
            UserError: There is none of a name.
        """
        known = {file.name: file for file in self.files}
        for name in only:
            if name not in known:
                guess = nearest(name, known)
                raise UserError(
                    f"{self.name} has no file {name!r}; there are: {', '.join(known)}"
                    + (f"; did you mean {guess!r}?" if guess else "")
                )
        return tuple(file for file in self.files if (file.name in only if only else file.usual))

    def told(self, folder: Path) -> str:
        """The next command for files that lie in ``folder``."""
        return self.next_command.format(folder=folder)


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
            "MIT (as distributed with MFN): see github.com/pliang279/MFN",
            "Park et al.: Computational analysis of persuasiveness in social multimedia, ICMI 2014",
            "neurozoo data import mfn {folder} DEST",
        ),
    )
}


def find(name: str) -> PublicData:
    """The data set of a name.

    Raises:
        UserError: There is none.
    """
    if name not in CATALOGUE:
        guess = nearest(name, CATALOGUE)
        raise UserError(
            f"no public data is called {name!r}; there are: {', '.join(CATALOGUE)}"
            + (f"; did you mean {guess!r}?" if guess else "")
        )
    return CATALOGUE[name]
