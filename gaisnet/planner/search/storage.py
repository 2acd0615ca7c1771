"""Optuna's storages by the names that a user gives them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gaisnet.errors import InputError, UsageError

if TYPE_CHECKING:
    import optuna

__all__ = ["open_study"]

JOURNAL = "journal:"
QUESTION = "gaisnet:question"


def open_study(
    storage: str | None, name: str, directions: list[str], question: str, measures: Sequence[str]
) -> optuna.Study:
    """A study of that name: the one that the storage has, or a new one.

    Args:
        storage: An URL as Optuna takes it (``sqlite:///search.db``), ``journal:FILE``, or ``None``
            for this process's memory.
        name: Of the study.
        directions: Of each measure.
        question: Digest of all that the trials depend on.
        measures: Names of the measures.

    Raises:
        UsageError: The study is there, but of another question; or the storage is of no kind
            that can be opened here.
        InputError: The storage cannot be opened.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        opened = _storage(storage)
        study = optuna.create_study(
            storage=opened, study_name=name, directions=directions, load_if_exists=True
        )
    except ImportError as error:
        raise UsageError(
            f"the storage needs a package that is not installed: {error.name or error}",
            where=storage,
            hint="sqlite:///FILE and journal:FILE need none",
        ) from error
    except Exception as error:
        # Each kind of database has exceptions of its own.
        raise _unopened(error, storage) from error
    _check(study, question, name, storage)
    study.set_user_attr(QUESTION, question)
    study.set_user_attr("gaisnet:measures", list(measures))
    return study


def _storage(storage: str | None) -> Any:
    if storage is None or not storage.startswith(JOURNAL):
        return storage
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    path = Path(storage.removeprefix(JOURNAL))
    if not path.name or not os.path.isdir(path.parent):
        raise UsageError(f"there is no folder {path.parent}", where=storage)
    return JournalStorage(JournalFileBackend(str(path)))


def _unopened(error: Exception, storage: str | None) -> Exception:
    if isinstance(error, UsageError):
        return error
    first = str(error).splitlines()[0] if str(error) else type(error).__name__
    return InputError(
        f"the storage cannot be opened: {first}",
        where=storage,
        hint="such as sqlite:///search.db or journal:search.log",
    )


def _check(study: optuna.Study, question: str, name: str, storage: str | None) -> None:
    found = study.user_attrs.get(QUESTION)
    if found is None and study.get_trials(deepcopy=False):
        raise UsageError(
            f"the study {name} was not made by gaisnet", where=storage, hint="name another: --study"
        )
    if found not in (None, question):
        raise UsageError(
            f"the study {name} is of another job, fleet, profile, seed or sampler",
            where=storage,
            hint="name another with --study, or go on with what it was begun with",
        )
