"""The work that is enqueued: workflows and their queues by name, as `db/functions/enqueue_*.sql` say them.

SQL enqueues by those functions alone; these names are for who serves, watches and counts what they enqueue.
"""

from __future__ import annotations

from typing import Final

#: The turn of a conversation.
TURN: Final = "process_ai_response"
#: The delivery of an outbound message.
DELIVERY: Final = "send_whatsapp_message"
#: What comes before the turn of a message with attachments: they are fetched, and voice is made text.
TRANSCRIBE, FETCH = "transcribe_audio", "fetch_media"

TURNS, DELIVERIES, VOICE, MEDIA = "turns", "deliveries", "voice", "media"
#: What a worker may be told to serve. Who serves `media` serves `voice`: it is apart so that notes which wait to be
#: listened to are in no picture's way.
SERVED: Final = (TURNS, DELIVERIES, MEDIA)
#: All of them.
QUEUES: Final = (TURNS, DELIVERIES, MEDIA, VOICE)
#: Where each is enqueued.
QUEUE_OF: Final = {TURN: TURNS, DELIVERY: DELIVERIES, TRANSCRIBE: VOICE, FETCH: MEDIA}
