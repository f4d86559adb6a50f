"""A packed model on the Hugging Face hub, by its address ``hf://USER/NAME@REV``, as a folder of this machine.

``huggingface_hub`` is asked for everything: where the hub is (``HF_ENDPOINT``), who the user is (``hf auth login`` or
``HF_TOKEN``), and the cache (``HF_HOME``), which answers when there is no network. Its tokens are never read here.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from neurozoo.errors import CheckpointError, FetchError, NeurozooWarning, RunError, UserError, install_extra
from neurozoo.files.locks import lock_folder, unlock_folder
from neurozoo.files.opening import LARGEST
from neurozoo.files.partial_folder import PartialFolder
from neurozoo.files.text import printable
from neurozoo.runs.packed import CARD, MANIFEST, read_manifest, read_packed

if TYPE_CHECKING:
    from huggingface_hub import HfApi

__all__ = ["Address", "HubFolder", "address_of", "fetch", "hub", "hub_errors"]

_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}"
# pathlib makes one slash of two.
_ADDRESS = re.compile(rf"hf:/{{1,2}}({_NAME}/{_NAME})(?:@([^@\s]+))?")
_REPOSITORY = re.compile(rf"{_NAME}/{_NAME}")
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class Address:
    """Where a model is on the hub.

    Attributes:
        repository: ``USER/NAME``.
        revision: A branch, tag or commit; None for the newest.
    """

    repository: str
    revision: str | None = None

    def __str__(self) -> str:
        return f"hf://{self.repository}{'' if self.revision is None else f'@{self.revision}'}"

    @classmethod
    def of_repository(cls, name: str) -> Address:
        """Return the address of ``USER/NAME``, which may begin with ``hf://``.

        Raises:
            UserError: It is no such name, or names a revision.
        """
        found = address_of(name) if name.startswith("hf:") else None
        if found is None and _REPOSITORY.fullmatch(name):
            found = cls(name)
        if found is None or found.revision is not None:
            raise UserError(f"{name!r} is no repository of a hub; give USER/NAME, such as ada/emotions-corrected")
        return found


@dataclass(frozen=True)
class HubFolder:
    """A model of the hub on this machine.

    Attributes:
        address: As it was given.
        commit: The hub's commit, 40 hexadecimal digits.
        folder: The packed model, in the cache.
    """

    address: Address
    commit: str
    folder: Path


def address_of(source: str | Path) -> Address | None:
    """Return the address that a text or path is; None if it does not begin as one.

    Raises:
        UserError: It begins with ``hf:/`` and is no address.
    """
    text = str(source)
    if not text.startswith("hf:/"):
        return None
    found = _ADDRESS.fullmatch(text)
    if found is None:
        raise UserError(f"{text!r} is no address of a model; give hf://USER/NAME or hf://USER/NAME@REVISION")
    return Address(found[1], found[2])


def hub() -> HfApi:
    """Return a client of the hub.

    Raises:
        UserError: The library is not installed.
    """
    if importlib.util.find_spec("huggingface_hub") is None:
        raise UserError(
            "models on a hub need the library huggingface_hub, which is not installed; install it with: "
            + install_extra("hub")
        )
    from huggingface_hub import HfApi

    return HfApi(library_name="neurozoo")


@contextmanager
def hub_errors(address: Address) -> Iterator[None]:
    """Turn the library's errors into those that say what to do.

    Raises:
        RunError: The repository, revision or file is not there, or not for this user.
        FetchError: The hub cannot be reached or failed.
    """
    from huggingface_hub import errors

    try:
        yield
    except errors.GatedRepoError as error:
        raise RunError(
            f"{address}: its owner gives access on request; ask for it on the page of the model, then log in with "
            "`hf auth login`"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise RunError(
            f"{address}: the hub has no such model, or it is private and you are not logged in; see "
            f"`neurozoo list --hub {address.repository.partition('/')[0]}`, or log in with `hf auth login`"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise RunError(
            f"{address}: the model has no revision {address.revision!r}; give a branch, tag or commit of it, "
            f"or hf://{address.repository} for the newest"
        ) from error
    except errors.LocalEntryNotFoundError as error:
        raise FetchError(
            f"{address}: the hub cannot be reached, and the model is not in the cache; connect to a network, and "
            "leave HF_HUB_OFFLINE unset"
        ) from error
    except errors.EntryNotFoundError as error:
        raise RunError(f"{address}: a file of the model is not there; ask its owner to push it again") from error
    except errors.HfHubHTTPError as error:
        status = error.response.status_code
        if status in (401, 403):
            raise RunError(
                f"{address}: the hub refuses this user (status {status}); log in with `hf auth login`, or set "
                "HF_TOKEN, to a token that may do this"
            ) from error
        said = printable(str(error.server_message or "without a reason"))[:200]
        raise FetchError(f"{address}: the hub answers with status {status} ({said}); try again later") from error
    except _connection_errors() as error:
        raise FetchError(
            f"{address}: the hub cannot be reached ({type(error).__name__}); connect to a network, and leave "
            "HF_HUB_OFFLINE unset"
        ) from error
    except RuntimeError as error:  # what the library makes of any failure while it sends a large file
        if not isinstance(error.__cause__, _connection_errors()):
            raise
        raise FetchError(f"{address}: a file could not be sent ({printable(str(error))}); try again later") from error


def _connection_errors() -> tuple[type[Exception], ...]:
    """Return the errors of a connection, whose base is that of the library's own errors by status."""
    from huggingface_hub.errors import HfHubHTTPError

    return HfHubHTTPError.__bases__[0], ConnectionError, TimeoutError


def fetch(address: Address) -> HubFolder:
    """Return a model of the hub as a packed folder, downloaded unless it is in the cache.

    Only files that the manifest names are downloaded. Weights and recipe must have its hashes; the card may have been
    edited since. Without a network the cache answers, with a warning.

    Raises:
        UserError: ``huggingface_hub`` is not installed.
        RunError: There is no such model or revision, it is not for this user, or is no packed model.
        CheckpointError: Its files are not those that were packed.
        FetchError: The hub cannot be reached, and the cache does not have it.
    """
    api = hub()
    from huggingface_hub import cached_assets_path, constants

    name = address.repository.replace("/", "--")
    copies = Path(cached_assets_path("neurozoo", name, "packed", assets_dir=constants.HF_ASSETS_CACHE))
    revision = address.revision or "main"
    if _COMMIT.fullmatch(revision) and (copies / revision / MANIFEST).is_file():
        return HubFolder(address, revision, copies / revision)
    with hub_errors(address):
        commit, online = _resolve(api, address, revision)
        folder = copies / commit
        lock = lock_folder(copies, wait=True)
        try:
            if not (folder / MANIFEST).is_file():
                _copy(api, address, commit, folder, online=online)
        finally:
            unlock_folder(lock)
    return HubFolder(address, commit, folder)


def _resolve(api: HfApi, address: Address, revision: str) -> tuple[str, bool]:
    """Return the commit of a revision, and whether the hub said so, rather than the cache."""
    from huggingface_hub import errors

    try:
        info = api.model_info(address.repository, revision=revision, files_metadata=True)
    except errors.HfHubHTTPError:
        raise
    except _connection_errors():
        cached = api.hf_hub_download(address.repository, MANIFEST, revision=revision, local_files_only=True)
        commit = Path(cached).parent.name
        warnings.warn(
            NeurozooWarning(f"{address}: the hub cannot be reached; this is commit {commit[:12]} from the cache"),
            stacklevel=4,
        )
        return commit, False
    there = {each.rfilename: each.size for each in info.siblings or ()}
    if MANIFEST not in there:
        names = ", ".join(printable(name) for name in sorted(there)[:5]) or "nothing"
        raise RunError(f"{address}: is no model that neurozoo packed, which has a {MANIFEST}; it has: {names}")
    if (size := there[MANIFEST] or 0) > LARGEST:
        raise RunError(f"{address}: its {MANIFEST} has {size:,} bytes, and {LARGEST:,} are the most that is read")
    # By the revision's name, so that the cache knows later what it was.
    return Path(api.hf_hub_download(address.repository, MANIFEST, revision=revision)).parent.name, True


def _copy(api: HfApi, address: Address, commit: str, folder: Path, *, online: bool) -> None:
    """Copy a model out of the library's cache, whose files are links, which a packed folder must not have."""

    def copy(name: str, to: Path) -> None:
        cached = api.hf_hub_download(address.repository, name, revision=commit, local_files_only=not online)
        shutil.copyfile(cached, to / name)

    from huggingface_hub import errors

    with PartialFolder(folder, marker=MANIFEST) as new:
        try:
            copy(MANIFEST, new.path)
            for name in read_manifest(new.path).files:
                try:
                    copy(name, new.path)
                except errors.EntryNotFoundError:
                    if name != CARD:
                        raise
            read_packed(new.path, any_card=True)
        except CheckpointError as error:
            reason = str(error).replace(f"{new.path}/", "").replace(str(new.path), f"commit {commit[:12]}")
            raise CheckpointError(f"{address}: {reason}") from error
        new.finish()
