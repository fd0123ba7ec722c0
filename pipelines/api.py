"""The API of Kubeflow Pipelines as Regrow uses it: pipelines, experiments, runs and recurring runs, by name.

Names are what we go by: the server keeps those of pipelines, their versions and experiments unique in a namespace,
but not those of runs and recurring runs.
"""

import functools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import kfp_server_api

from regrow_pipelines.connection import ApiError, Connection

PAGE = 100
EQUALS = 1
UPLOADING = 4


class Api:
    """The part of the API that Regrow uses, over one `Connection`."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        client = connection.client
        self._health = kfp_server_api.HealthzServiceApi(client)
        self._experiments = kfp_server_api.ExperimentServiceApi(client)
        self._pipelines = kfp_server_api.PipelineServiceApi(client)
        self._uploads = kfp_server_api.PipelineUploadServiceApi(client)
        self._runs = kfp_server_api.RunServiceApi(client)
        self._recurring = kfp_server_api.RecurringRunServiceApi(client)

    @functools.cached_property
    def namespace(self) -> str | None:
        """Our namespace; None in a single-user installation, which has none.

        Raises:
            ApiError: the server cannot be reached. Asked first, it also tells whether there is a server.
        """
        health = self.connection.call("check its health", self._health.healthz_service_get_healthz)
        return self.connection.namespace if health.multi_user else None

    def experiment(self, name: str) -> str:
        """The id of the experiment ``name``, made if there is none."""

        def found() -> str | None:
            there = self._listed(
                f"look for the experiment '{name}'",
                self._experiments.experiment_service_list_experiments,
                "experiments",
                filter=_named(name),
                namespace=self.namespace,
            )
            return next((item.experiment_id for item in there), None)

        if (there := found()) is not None:
            return there
        body = kfp_server_api.V2beta1Experiment(display_name=name, namespace=self.namespace)
        made = self.connection.call(
            f"create the experiment '{name}'",
            self._experiments.experiment_service_create_experiment,
            body,
            found=found,
        )
        return self._id(made, "experiment_id", f"create the experiment '{name}'")

    def pipeline(self, name: str) -> str | None:
        """The id of the pipeline ``name``; None if there is none."""
        there = self._listed(
            f"look for the pipeline '{name}'",
            self._pipelines.pipeline_service_list_pipelines,
            "pipelines",
            filter=_named(name),
            namespace=self.namespace,
        )
        return next((item.pipeline_id for item in there), None)

    def version(self, pipeline: str, name: str) -> str | None:
        """The id of version ``name`` of the pipeline with the id ``pipeline``; None if there is none."""
        there = self._listed(
            f"look for the pipeline version '{name}'",
            self._pipelines.pipeline_service_list_pipeline_versions,
            "pipeline_versions",
            pipeline,
            filter=_named(name),
        )
        return next((item.pipeline_version_id for item in there), None)

    def upload(self, package: Path, *, name: str, version: str, description: str) -> tuple[str, str]:
        """The ids of pipeline and version; each uploaded if it is not there."""
        pipeline = self.pipeline(name)
        if pipeline is None:
            # The first upload makes the pipeline and a version that bears the pipeline's name; ours follows.
            made = self.connection.call(
                f"upload the pipeline '{name}'",
                self._uploads.upload_pipeline,
                str(package),
                name=name,
                description=description,
                namespace=self.namespace,
                found=lambda: self.pipeline(name),
                patience=UPLOADING,
            )
            pipeline = self._id(made, "pipeline_id", f"upload the pipeline '{name}'")
        there = self.version(pipeline, version)
        if there is None:
            made = self.connection.call(
                f"upload version '{version}' of the pipeline '{name}'",
                self._uploads.upload_pipeline_version,
                str(package),
                name=version,
                pipelineid=pipeline,
                description=description,
                found=lambda: self.version(pipeline, version),
                patience=UPLOADING,
            )
            there = self._id(
                made, "pipeline_version_id", f"upload version '{version}' of the pipeline '{name}'"
            )
        return pipeline, there

    def start_run(self, body: kfp_server_api.V2beta1Run) -> kfp_server_api.V2beta1Run:
        """The run that ``body`` describes, once.

        Its display name must be its own: a create whose answer is lost is looked for under it before it is
        sent again. Should the server still have finished the first one late, the younger run is terminated.
        """
        tries = 0

        def create(body: Any, **options: Any) -> Any:
            nonlocal tries
            tries += 1
            return self._runs.run_service_create_run(body, **options)

        def same() -> list[kfp_server_api.V2beta1Run]:
            there = self._listed(
                f"look for the run '{body.display_name}'",
                self._runs.run_service_list_runs,
                "runs",
                experiment_id=body.experiment_id,
                filter=_named(body.display_name),
            )
            return sorted(there, key=lambda run: (run.created_at, run.run_id))

        purpose = f"start the run '{body.display_name}'"
        run = self.connection.call(purpose, create, body, found=lambda: next(iter(same()), None))
        self._id(run, "run_id", purpose)
        if tries > 1:
            first, *others = same() or [run]
            for other in others:
                self.terminate(other.run_id)
            run = first
        return run

    def run(self, run_id: str) -> kfp_server_api.V2beta1Run:
        """The run with its details as they are now."""
        return self.connection.call(
            f"get the run {run_id}", self._runs.run_service_get_run, run_id, experiment_id=None
        )

    def terminate(self, run_id: str) -> None:
        """Stop a run."""
        self.connection.call(f"stop the run {run_id}", self._runs.run_service_terminate_run, run_id)

    def recurring_runs(self) -> Iterator[kfp_server_api.V2beta1RecurringRun]:
        """All recurring runs in our namespace, whoever made them."""
        return self._listed(
            "list the schedules",
            self._recurring.recurring_run_service_list_recurring_runs,
            "recurring_runs",
            namespace=self.namespace,
        )

    def create_recurring_run(
        self, body: kfp_server_api.V2beta1RecurringRun, *, found: Callable[[], Any]
    ) -> kfp_server_api.V2beta1RecurringRun:
        """A new recurring run; ``found`` returns one that an attempt without an answer has made."""
        purpose = f"create the schedule '{body.display_name}'"
        made = self.connection.call(
            purpose, self._recurring.recurring_run_service_create_recurring_run, body, found=found
        )
        self._id(made, "recurring_run_id", purpose)
        return made

    def set_enabled(self, recurring_run_id: str, *, enabled: bool) -> None:
        """Enable or disable a recurring run, unless that is already its state."""
        service = self._recurring
        verb = "enable" if enabled else "disable"
        function = (
            service.recurring_run_service_enable_recurring_run
            if enabled
            else service.recurring_run_service_disable_recurring_run
        )
        self.connection.call(f"{verb} the schedule {recurring_run_id}", function, recurring_run_id)

    def delete_recurring_run(self, recurring_run_id: str) -> None:
        """Delete a recurring run; its runs stay and continue. One that is already gone is not an error."""
        function = self._recurring.recurring_run_service_delete_recurring_run
        try:
            # Else Kubernetes takes the runs that are going on away with what has started them.
            options: dict[str, Any] = {"propagation_policy": "ORPHAN"}
            self.connection.call(
                f"delete the schedule {recurring_run_id}", function, recurring_run_id, **options
            )
        except ApiError as error:
            if error.status != 404:
                raise

    def _id(self, made: Any, field: str, purpose: str) -> str:
        """The id of what a request has made, or under which it was found.

        Raises:
            ApiError: the answer holds none; every answer of Kubeflow's to such a request does.
        """
        found = made if isinstance(made, str) else getattr(made, field)
        if not found:
            raise self.connection.stranger(purpose, status=200)
        return str(found)

    def _listed(
        self, purpose: str, function: Callable[..., Any], field: str, *args: Any, **options: Any
    ) -> Iterator[Any]:
        """The items of all pages."""
        token = None
        while True:
            page = self.connection.call(purpose, function, *args, page_token=token, page_size=PAGE, **options)
            yield from getattr(page, field) or []
            token = page.next_page_token
            if not token:
                return


def _named(name: str) -> str:
    """The server's filter for a display name."""
    predicate = {"operation": EQUALS, "key": "display_name", "string_value": name}
    return json.dumps({"predicates": [predicate]})
