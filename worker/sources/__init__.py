"""The sources of the models that a worker owns: read, appended to the logs, and told of."""
