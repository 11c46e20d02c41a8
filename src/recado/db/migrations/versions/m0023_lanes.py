"""A lane's name begins with its owner, so that a worker can go from owner to owner (`ops/engine`).

It is made in one place, by the functions that enqueue: whoever calls them gives the conversation, also a process of the
release before that still runs. What waits or is in work gets the new name here; what such a process enqueues while this
runs gets it by recovery (`give_lanes`).
"""

from __future__ import annotations

from alembic import op

from recado.db.migrations.versions.m0021_engine import _ENQUEUE, _OF_THE_OWNER, _OURS

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None

# For those who compare. The engine's role has no business in this schema: what it makes says the same once more.
_LANE = """
CREATE FUNCTION lane(owner_id text, conversation_id text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN owner_id || ':' || conversation_id
"""
_IN_ITS_LANE = _ENQUEUE.replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION").replace(
    "queue_partition_key => queue_partition_key",
    "queue_partition_key => (to_json(args) ->> 0) || ':' || queue_partition_key",
)
_RENAME = """
DO $$
BEGIN
    IF to_regclass('dbos.workflow_status') IS NOT NULL THEN
        UPDATE dbos.workflow_status w
        SET queue_partition_key = recado.lane(i.inputs::json -> 'positionalArgs' ->> 0, w.queue_partition_key)
        FROM dbos.workflow_input i
        WHERE i.workflow_uuid = w.workflow_uuid AND w.queue_name IN ('turns', 'deliveries', 'media', 'voice')
          AND w.status IN ('ENQUEUED', 'PENDING', 'DELAYED') AND w.queue_partition_key NOT LIKE '%:%';
    END IF;
END $$
"""


def upgrade() -> None:
    """Name the lanes."""
    op.execute(_LANE)
    op.execute(_IN_ITS_LANE.format(called="enqueue_work", checks=_OURS + _OF_THE_OWNER))
    op.execute(_IN_ITS_LANE.format(called="enqueue_across", checks=_OURS))
    op.get_bind().exec_driver_sql(_RENAME.replace("%", "%%"))
