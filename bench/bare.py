"""The baseline: a FastAPI route that checks the signature and does nothing else, in the server that recado runs in."""

from __future__ import annotations

import sys

import uvloop
from fastapi import FastAPI, Request, Response

from bench.load import PATH, TOKEN
from recado.app import bind, server
from recado.channels.twilio.signature import canonical_url, is_signed, parse_form

app = FastAPI()
TWIML = Response('<?xml version="1.0" encoding="UTF-8"?><Response/>', media_type="text/xml")


@app.post(PATH)
async def inbound(request: Request) -> Response:
    body = await request.body()
    fields = parse_form(body)
    url = canonical_url(request.scope, public_url=None)
    signature = request.headers.get("x-twilio-signature", "")
    if not is_signed(url, [TOKEN], signature, request.headers.get("content-type"), body, fields):
        return Response(status_code=403)
    return TWIML


async def main(port: int) -> None:
    with bind("127.0.0.1", port) as sock:
        await server(app, "127.0.0.1", port).serve(sockets=[sock])


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
