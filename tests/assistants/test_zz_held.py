import csv, sys
from pathlib import Path
from recado.assistants import keyless, knowledge
from recado.db.scope import scoped
from tests.assistants.conftest import new_owner
D=Path('/work/main/tests/assistants/data')
async def test_held(pool, database_url):
    owners={}
    for f,l in (('bakery-pt.md','pt'),('bakery-es.md','es'),('bakery-en.csv','en'),('clinic-pt.md','clinic')):
        o=await new_owner(database_url); owners[l]=o
        async with scoped(pool,o) as s:
            n=await knowledge.replace(s,source=f,entries=knowledge.read(f,(D/f).read_bytes()),language='pt' if l=='clinic' else l); print(l,n)
    right=wrong=none=badood=0
    for r in csv.DictReader(Path('/tmp/heldout.csv').read_text().splitlines()):
        async with scoped(pool,owners['clinic']) as s:
            a=await keyless.answer(s,r['question'],language=r['language'])
            m=await knowledge.search(s,r['question'],language=r['language'],limit=2)
            tag='ok'
            if r['answer']:
                if a and r['answer'] in a: right+=1
                elif a: wrong+=1; tag='WRONG'
                else: none+=1; tag='none'
            elif a: badood+=1; tag='BAD'
            if tag!='ok' or not r['answer']: print(tag,r['question'],'|',[(x.title[-30:],round(x.score,2)) for x in m], [w.text for w in knowledge.words.asked(r['question'],r['language'])])
    print('right',right,'wrong',wrong,'none',none,'bad ood',badood)
