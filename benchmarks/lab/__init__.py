"""The lab: one store of results, one way to train and to test, one report, for all tables."""
