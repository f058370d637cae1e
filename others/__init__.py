"""The test suites of other projects, run plainly and under `kettle run`."""
