"""The workflow engine: what recado does itself of what DBOS does, and the only place that knows DBOS from inside.

`process` starts it in a worker, ends it and gives work back · `claims` takes what waits, each owner in its share ·
`running` runs what was claimed · `ledger` writes what that comes to. Elsewhere DBOS's tables are read by SQL, and its
public calls used; what is underscored in it is used in this folder alone, and held by `tests/contracts/test_dbos.py`.
"""
