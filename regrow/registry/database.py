"""MLflow's SQLite file: it appears with all its tables or not at all."""

import contextlib
import os
from pathlib import Path

from regrow.scratch import scratch_beside, sweep


def create_database(file: Path) -> None:
    """Create MLflow's database ``file``, unless it is there, and let artifacts go to ``mlruns`` beside it.

    MLflow makes some fifty tables in many transactions; killed in between, it leaves a file that it refuses ever
    after. So they are made in a scratch file beside it.
    """
    if file.exists() and file.stat().st_size:
        return
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    sweep(file.parent, name=file.name)
    scratch = scratch_beside(file)
    try:
        store = SqlAlchemyStore(f"sqlite:///{scratch}", (file.parent / "mlruns").as_uri())
        store.engine.dispose()
        if file.exists() and not file.stat().st_size:
            scratch.replace(file)
        else:
            # A link does not replace: another process may have been faster, and have written to its own.
            with contextlib.suppress(FileExistsError):
                os.link(scratch, file)
    finally:
        for left in (scratch, scratch.with_name(scratch.name + "-journal")):
            left.unlink(missing_ok=True)
