"""Make the MLflow user that runs are, or give it the password that its Secret says; running it again is harmless."""

import os
import sys
import time

import requests

ADDRESS = os.environ["MLFLOW_TRACKING_URI"].rstrip("/") + "/api/2.0/mlflow/users/"
ADMIN = "admin"
SIGN_IN = (ADMIN, os.environ["MLFLOW_AUTH_ADMIN_PASSWORD"])
NAME, PASSWORD = os.environ["MLFLOW_TRACKING_USERNAME"], os.environ["MLFLOW_TRACKING_PASSWORD"]
PATIENCE_S = float(os.environ.get("REGROW_PATIENCE_S", "240"))


def call(verb: str, action: str, body: dict[str, str]) -> requests.Response:
    """Send one request, again and again while the server is still starting."""
    until = time.monotonic() + PATIENCE_S
    while True:
        try:
            answer = requests.request(verb, ADDRESS + action, json=body, auth=SIGN_IN, timeout=30)
            if answer.status_code < 500 or time.monotonic() > until:
                return answer
        except requests.ConnectionError as error:
            if time.monotonic() > until:
                sys.exit(f"{ADDRESS}: no answer within {PATIENCE_S:.0f} s: {error}")
        time.sleep(2)


if NAME == ADMIN:
    sys.exit("MLFLOW_TRACKING_USERNAME: is 'admin'; runs need a user of their own, such as 'regrow'")
answer = call("POST", "create", {"username": NAME, "password": PASSWORD})
done = "made"
if answer.status_code == 400 and "RESOURCE_ALREADY_EXISTS" in answer.text:
    answer = call("PATCH", "update-password", {"username": NAME, "password": PASSWORD})
    done = "is there; its password is what the Secret says"
if not answer.ok:
    sys.exit(f"{ADDRESS}: {answer.status_code}: {answer.text[:500]}")
print(f"MLflow user '{NAME}': {done}")
