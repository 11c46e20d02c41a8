"""The workflow engine's tables are the engine's alone: what the product asks of them are these three functions.

Rows and results in `dbos` are of all owners, and no row-level security stands before them. `migrate` gives the tables
to `recado_engine` and takes them from the other roles.
"""

from __future__ import annotations

from alembic import op

from recado.db.migrations.policies import by_the_engine

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

_OURS = """
    IF ((name, queue) IN (('process_ai_response', 'turns'), ('send_whatsapp_message', 'deliveries'),
                          ('transcribe_audio', 'voice'), ('fetch_media', 'media'))) IS NOT TRUE THEN
        RAISE insufficient_privilege USING MESSAGE = 'no such work';
    END IF;
"""
# As the engine reads it: an array may begin at another index than 1.
_OF_THE_OWNER = """
    IF (to_json(args) ->> 0 = nullif(current_setting('recado.owner_id', true), '')) IS NOT TRUE THEN
        RAISE insufficient_privilege USING MESSAGE = 'the work is of another owner';
    END IF;
"""
_ENQUEUE = """
CREATE FUNCTION {called}(name text, queue text, args json[], workflow_id text, queue_partition_key text DEFAULT NULL)
RETURNS text LANGUAGE plpgsql SECURITY DEFINER SET search_path = recado, pg_temp AS $$
BEGIN
    {checks}
    RETURN dbos.enqueue_workflow(
        name, queue, args, workflow_id => workflow_id, queue_partition_key => queue_partition_key);
END $$
"""
_HAS_WORK = """
CREATE FUNCTION has_work(workflow_id text) RETURNS boolean LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = recado, pg_temp AS $$
BEGIN
    RETURN EXISTS (SELECT FROM dbos.workflow_status w WHERE w.workflow_uuid = workflow_id);
END $$
"""


def upgrade() -> None:
    """Make the functions; the engine's own migration, which follows, may have to make what they call."""
    op.execute(_ENQUEUE.format(called="enqueue_work", checks=_OURS + _OF_THE_OWNER))
    op.execute(_ENQUEUE.format(called="enqueue_across", checks=_OURS))
    op.execute(_HAS_WORK)
    arguments = "(text, text, json[], text, text)"
    by_the_engine(op, f"enqueue_work{arguments}", role="recado_app")
    by_the_engine(op, f"enqueue_across{arguments}", role="recado_platform")
    by_the_engine(op, "has_work(text)", role="recado_app")
