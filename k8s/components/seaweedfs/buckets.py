"""Make the bucket that is named, if it is not there; wait for the store while it starts."""

import os
import sys
import time

import boto3
from botocore.exceptions import BotoCoreError, ClientError

BUCKET = sys.argv[1]
PATIENCE_S = float(os.environ.get("REGROW_PATIENCE_S", "240"))
until = time.monotonic() + PATIENCE_S
while True:
    try:
        boto3.client("s3").create_bucket(Bucket=BUCKET)
        print(f"s3://{BUCKET}: made")
        break
    except ClientError as error:
        found = error.response.get("Error", {}).get("Code", "")
        if found in ("BucketAlreadyExists", "BucketAlreadyOwnedByYou"):
            print(f"s3://{BUCKET}: is there")
            break
        # A store that is still starting may know no identities yet.
        if time.monotonic() > until:
            sys.exit(f"s3://{BUCKET}: {error}")
    except BotoCoreError as error:
        if time.monotonic() > until:
            sys.exit(f"s3://{BUCKET}: {error}")
    time.sleep(2)
