"""Publish trained models on the Hugging Face hub, copy them from there, and list those of a user."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from neurozoo.errors import RunError, UserError
from neurozoo.files.partial_folder import PartialFolder
from neurozoo.hub.packing import pack
from neurozoo.reporting.tables import number
from neurozoo.runs.from_hub import Address, HubFolder, address_of, fetch, hub, hub_errors
from neurozoo.runs.packed import MANIFEST, is_packed, read_packed
from neurozoo.runs.run import check_free

if TYPE_CHECKING:
    from huggingface_hub import ModelInfo

__all__ = ["Published", "RemoteModel", "pull", "push", "remote_models"]

MOST = 1000
"""So many models of a user are listed."""


@dataclass(frozen=True)
class Published:
    """What was pushed.

    Attributes:
        address: Of exactly this version, ``hf://USER/NAME@COMMIT``.
        url: Its page.
        files: Bytes of each file.
        synthetic: Whether the model was trained on synthetic data.
    """

    address: str
    url: str
    files: dict[str, int]
    synthetic: bool


@dataclass(frozen=True)
class RemoteModel:
    """A model on the hub, in the words of its card, which its owner may have edited.

    Attributes:
        name: ``USER/NAME``.
        summary: Data and scores.
        address: Of the newest version.
        commit: That version, hexadecimal; empty if the hub does not say.
        private: Whether only its owner sees it.
        gated: Whether its owner grants access on request.
        downloads: In the last month, as the hub counts.
    """

    name: str
    summary: str
    address: str
    commit: str
    private: bool
    gated: bool
    downloads: int


def push(
    run: str | Path,
    repository: str,
    *,
    licence: str | None = None,
    notes: str = "",
    private: bool = False,
) -> Published:
    """Publish a finished run, or a folder that was packed, as a model of the hub; it is made if it is not there.

    The user is who ``hf auth login`` or ``HF_TOKEN`` says.

    Args:
        run: The run folder, which is packed first, or a packed one.
        repository: ``USER/NAME``.
        licence: Of the weights, an SPDX expression; only of a run.
        notes: Markdown for the model card; only of a run.
        private: Whether a new model is for its owner alone; one that is there stays as it is.

    Raises:
        UserError: The repository or licence is no such name, or ``huggingface_hub`` is not installed.
        RunError: The run is not finished, or the hub refuses the user.
        CheckpointError: A packed folder differs from what was packed in more than its card.
        FetchError: The hub cannot be reached or failed.
    """
    address, folder = Address.of_repository(repository), Path(run)
    hub()  # before the work of packing
    if not is_packed(folder):
        with tempfile.TemporaryDirectory() as scratch:
            packed = pack(folder, Path(scratch) / "packed", licence=licence, notes=notes)
            return _upload(packed, address, private)
    if licence is not None or notes:
        raise UserError(f"{run}: is packed already, with its licence and notes; leave them out, or push the run")
    return _upload(folder, address, private)


def _upload(folder: Path, address: Address, private: bool) -> Published:
    from huggingface_hub import CommitOperationAdd

    packed = read_packed(folder, any_card=True)
    names = [name for name in (*packed.files, MANIFEST) if (folder / name).is_file()]
    api = hub()
    with hub_errors(address):
        # None leaves a new model to the user's own default.
        api.create_repo(address.repository, private=private or None, exist_ok=True)
        done = api.create_commit(
            address.repository,
            [CommitOperationAdd(path_in_repo=name, path_or_fileobj=folder / name) for name in names],
            commit_message=f"Publish {packed.name}",
        )
    return Published(
        address=str(Address(address.repository, done.oid)),
        url=f"{api.endpoint}/{address.repository}",
        files={name: (folder / name).stat().st_size for name in names},
        synthetic=packed.synthetic,
    )


def pull(address: str, out: str | Path | None = None) -> HubFolder:
    """Copy a model of the hub into a folder of one's own.

    Args:
        address: ``hf://USER/NAME``, ``hf://USER/NAME@REVISION``, or the same without ``hf://``.
        out: The new folder; by default ``packed/NAME``.

    Returns:
        The new folder, and the hub's commit.

    Raises:
        UserError: It is no address, or ``huggingface_hub`` is not installed.
        RunError: There is no such model or revision, or ``out`` is not empty or cannot be written.
        CheckpointError: Its files are not those that were packed.
        FetchError: The hub cannot be reached, and the cache does not have it.
    """
    found = address_of(address if address.startswith("hf:") else f"hf://{address}")
    assert found is not None  # it begins as one
    folder = Path("packed") / found.repository.partition("/")[2] if out is None else Path(out)
    check_free(folder)
    cached = fetch(found)
    try:
        with PartialFolder(folder, marker=MANIFEST) as new:
            for file in cached.folder.iterdir():
                shutil.copyfile(file, new.path / file.name)
            new.finish()
    except OSError as error:
        raise RunError(f"{folder}: cannot be written: {error.strerror or error}; give another --out") from error
    return HubFolder(found, cached.commit, folder)


def remote_models(user: str) -> list[RemoteModel]:
    """Return the models of a user or organisation that have neurozoo's tag, by name.

    Raises:
        UserError: ``huggingface_hub`` is not installed.
        FetchError: The hub cannot be reached or failed.
    """
    api = hub()
    with hub_errors(Address(f"{user}/-")):
        found = api.list_models(author=user, filter="neurozoo", cardData=True, full=True)
        return sorted((_remote(each) for each in islice(found, MOST)), key=lambda each: each.name)


def _remote(info: ModelInfo) -> RemoteModel:
    results = getattr(info.card_data, "eval_results", None) or []
    scores = [
        f"{each.metric_name or each.metric_type} {number(each.metric_value, 3)}"
        for each in results
        if isinstance(each.metric_value, int | float)
    ]
    data = next((str(each.dataset_name) for each in results), "")
    synthetic = "on SYNTHETIC data" if "synthetic-data" in (info.tags or []) else ""
    return RemoteModel(
        name=info.id,
        summary=": ".join(filter(None, [data or synthetic, ", ".join(scores[:3])])),
        address=f"hf://{info.id}",
        commit=info.sha or "",
        private=bool(info.private),
        gated=bool(info.gated),
        downloads=info.downloads or 0,
    )
