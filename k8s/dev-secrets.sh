#!/bin/sh
# Print the Secrets of `dev` and `gpu` with new random values: sh k8s/dev-secrets.sh [NAMESPACE] | kubectl apply -f -
# Once only: PostgreSQL keeps the password that it was made with.
set -eu
namespace=${1:-regrow}

random() {
  od -An -N24 -tx1 /dev/urandom | tr -d ' \n'
}

secret() {
  name=$1
  shift
  echo "---"
  printf 'apiVersion: v1\nkind: Secret\nmetadata: {name: %s, namespace: %s}\ntype: Opaque\nstringData:\n' "$name" "$namespace"
  for pair in "$@"; do
    printf '  %s: "%s"\n' "${pair%%=*}" "${pair#*=}"
  done
}

artifacts_key=$(random)
data_key=$(random)
secret mlflow-server "MLFLOW_AUTH_ADMIN_PASSWORD=$(random)" "MLFLOW_FLASK_SERVER_SECRET_KEY=$(random)" \
  "PGPASSWORD=$(random)" "AWS_ACCESS_KEY_ID=regrow-mlflow" "AWS_SECRET_ACCESS_KEY=$artifacts_key"
secret regrow-mlflow-credentials "MLFLOW_TRACKING_USERNAME=regrow" "MLFLOW_TRACKING_PASSWORD=$(random)"
secret regrow-data-credentials "AWS_ACCESS_KEY_ID=regrow-data" "AWS_SECRET_ACCESS_KEY=$data_key"
secret seaweedfs-identities
cat <<JSON
  s3.json: |
    {"identities": [
      {"name": "mlflow", "actions": ["Admin:regrow-mlflow"],
       "credentials": [{"accessKey": "regrow-mlflow", "secretKey": "$artifacts_key"}]},
      {"name": "data", "actions": ["Admin:regrow-data"],
       "credentials": [{"accessKey": "regrow-data", "secretKey": "$data_key"}]}
    ]}
JSON
