-- Run once, on an empty volume, by the image's entry point, which has made the database `mlflow` itself.
-- MLflow's users have a database of their own: both keep their schema's version in a table of one name.
CREATE DATABASE mlflow_auth OWNER mlflow;
