from __future__ import annotations

from tests.api.programs import Office


async def test_nobody_can_write_to_a_contact_who_opted_out_and_the_reason_is_told(office: Office) -> None:
    await office.front.accept(await office.front.arrival("SAIR"))
    path = f"/v1/conversations/{office.conversation_id}/messages"
    answer = await office.admin.ask("POST", path, json={"body": "Só mais uma coisa"})
    assert answer.status_code == 409
    assert "wants no messages since" in answer.json()["detail"]
    assert all(row["direction"] == "inbound" for row in office.front.stored())
    contact = await office.admin.get(f"/v1/contacts/{office.ids['contact_id']}")
    assert (contact["suppressed"], contact["suppressed_why"]) == (True, "word")
    assert contact["suppressed_since"].endswith("Z")
    await office.front.accept(await office.front.arrival("VOLTAR"))
    assert (await office.admin.ask("POST", path, json={"body": "Olá"})).status_code == 201
    contact = await office.admin.get(f"/v1/contacts/{office.ids['contact_id']}")
    assert (contact["suppressed"], contact["suppressed_since"], contact["suppressed_why"]) == (False, None, None)


async def test_a_word_is_added_counts_at_once_and_is_removed(office: Office) -> None:
    given = {"word": "Chega!", "action": "stop", "language": "pt"}
    made = (await office.admin.ask("POST", "/v1/consent-words", json=given)).json()
    assert (made["word"], made["language"]) == ("chega", "pt")
    await office.front.accept(await office.front.arrival("chega..."))
    assert len(office.front.rows("SELECT FROM suppressions")) == 1
    listed = (await office.admin.get("/v1/consent-words"))["items"]
    assert listed[-1] == made
    assert (await office.admin.ask("DELETE", f"/v1/consent-words/{made['id']}")).json() == made
    assert (await office.admin.ask("DELETE", f"/v1/consent-words/{made['id']}")).status_code == 404
    assert [row["action"] for row in office.front.rows("SELECT action FROM audit ORDER BY id")] == ["add", "remove"]


async def test_what_is_no_word_is_422_and_a_word_of_all_owners_409(office: Office) -> None:
    for word, status in (("!!!", 422), ("", 422), ("SAIR", 409)):
        answer = await office.admin.ask("POST", "/v1/consent-words", json={"word": word, "action": "start"})
        assert answer.status_code == status, word
