"""MLflow as a logger of neurozoo. The library itself is imported on first use."""

from __future__ import annotations

from collections.abc import Iterable

from neurozoo.registry.hookspecs import Component, hookimpl

__all__ = ["neurozoo_api", "neurozoo_components"]

neurozoo_api = "2.0"


@hookimpl
def neurozoo_components() -> Iterable[Component]:
    """The logger ``mlflow``."""
    yield Component(
        "logger",
        "mlflow",
        "neurozoo_mlflow.logger:MlflowLogger",
        "an MLflow run: metrics of each epoch, the recipe, files on request",
        requires=("mlflow", "sqlalchemy", "alembic"),
        install="pip install neurozoo-mlflow",
        tested=("mlflow-skinny >=3.17,<4",),
    )
