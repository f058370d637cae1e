"""The test suites of other projects, plainly and under `kettle run`."""
