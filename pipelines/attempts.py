"""Run one step in a container, with retries; the step succeeds only when its statement verifies.

Kubeflow's own handler reports success for a container that vanished. Here the exit status must be there and be
zero, and the statement that the step has left must be true of its outputs. A container that was killed is started
again: steps leave their outputs whole or not at all, and resume or begin anew. A step that ends with a status
of its own has failed, and is not tried again.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kfp.local import docker_task_handler, status

from regrow.cluster.engine import connect
from regrow.errors import RegrowError
from regrow.progress import emit
from regrow.provenance.statement import read_statement
from regrow.steps.spec import STATEMENT
from regrow_pipelines.placement import WEBHOOK, WEBHOOK_URL

WORKSPACE_LABEL = "regrow.workspace"
STEP_LABEL = "regrow.step"
ATTEMPTS = 3
SIGNAL_BASE = 128  # a shell's status for a process that a signal ended is this and its number
VANISHED = -1


class VerifiedHandler(docker_task_handler.DockerTaskHandler):
    """What Kubeflow's `DockerRunner` runs a task with."""

    def run(self) -> status.Status:
        """Run the container until its statement verifies; failure when the step fails or is killed too often."""
        client = connect()
        try:
            for attempt in range(1, ATTEMPTS + 1):
                code, out_of_memory = self._attempt(client)
                fault = self._fault(code)
                if not fault:
                    return status.Status.SUCCESS
                if code not in (0, VANISHED) and code < SIGNAL_BASE:
                    return status.Status.FAILURE  # the step has said why
                if out_of_memory or attempt == ATTEMPTS:
                    break
                emit("notice", message=f"step '{self._step}': {fault}; restarting it")
            reason = "ran out of memory" if out_of_memory else f"{fault}, {attempt} times"
            emit("failed", step=self._step, message=reason)
            return status.Status.FAILURE
        finally:
            client.close()

    @property
    def _step(self) -> str:
        return self._argument("--function_to_execute")

    def _argument(self, option: str) -> str:
        place = self.full_command.index(option)
        return str(self.full_command[place + 1])

    def _outputs(self) -> dict[str, Path]:
        artifacts = json.loads(self._argument("--executor_input")).get("outputs", {}).get("artifacts", {})
        return {name: Path(found["artifacts"][0]["uri"]) for name, found in artifacts.items()}

    def _attempt(self, client: Any) -> tuple[int, bool]:
        """Run one container to its end: its exit status or ``VANISHED``, and whether it ran out of memory."""
        from docker.errors import APIError

        arguments = dict(self.runner.container_run_args)
        found = client.images.get(self.image)
        container = client.containers.run(
            image=self.image,
            command=self.full_command,
            detach=True,
            volumes=self.get_volumes_to_mount(client),
            environment={
                **variables(self._step, self.env_vars),
                "REGROW_IMAGE": f"{self.image}@{found.id}",
            },
            **{**arguments, "labels": {**arguments["labels"], STEP_LABEL: self._step}},
        )
        try:
            for line in container.logs(stream=True):
                print(line.decode("utf-8", "replace"), end="")
            code = int(container.wait(timeout=None)["StatusCode"])
            container.reload()
            out_of_memory = bool(container.attrs["State"].get("OOMKilled"))
            container.remove()
        except APIError:  # somebody removed it, so nothing is known of how it ended
            return VANISHED, False
        return code, out_of_memory

    def _fault(self, code: int) -> str:
        """Why the step did not succeed; empty if it did."""
        if code == VANISHED:
            return "its container vanished"
        if code != 0:
            return f"its container was killed (status {code})"
        outputs = self._outputs()
        if STATEMENT not in outputs:  # a component that is no step
            return ""
        try:
            statement = read_statement(outputs[STATEMENT])
            statement.verify({name: outputs[name] for name in statement.subjects})
        except (RegrowError, KeyError) as error:
            return f"its container ended without a valid statement ({error})"
        return "" if statement.step == self._step else f"it left the statement of step '{statement.step}'"


def variables(step: str, given: Mapping[str, str]) -> dict[str, str]:
    """What the container of ``step`` gets of the variables that are ``given`` for all: the webhook is a secret."""
    return {name: value for name, value in given.items() if name != WEBHOOK_URL or step in WEBHOOK}


def remove_containers(workspace: str) -> None:
    """Remove the containers that were started for ``workspace``, at work or not."""
    from docker.errors import APIError

    client = connect()
    try:
        # One that another removes between the listing and the look at it is no error.
        for container in client.containers.list(
            all=True, filters={"label": f"{WORKSPACE_LABEL}={workspace}"}, ignore_removed=True
        ):
            try:
                container.remove(force=True)
            except APIError:  # another has removed it
                continue
    finally:
        client.close()
