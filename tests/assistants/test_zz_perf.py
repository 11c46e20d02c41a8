import random, time
from pathlib import Path
from recado.assistants import keyless, knowledge
from recado.assistants.knowledge import Entry
async def test_p(scope):
    r=random.Random(1)
    voc=[ ''.join(r.choice('bcdfglmnprst')+r.choice('aeiou') for _ in range(r.randint(2,5))) for _ in range(5000)]
    D=Path('/work/main/tests/assistants/data')
    es=knowledge.read('bakery-pt.md',(D/'bakery-pt.md').read_bytes())
    for n in (12,300,3000):
        es2=es+[Entry(title=' '.join(r.choices(voc,k=5)),content='abrimos entrega '+' '.join(r.choices(voc,k=60))) for _ in range(n-12)]
        t=time.perf_counter(); await knowledge.replace(scope,source='a',entries=es2,language='pt'); t1=time.perf_counter()
        await knowledge.replace(scope,source='a',entries=es2,language='pt'); t2=time.perf_counter()
        await scope.conn.execute("ANALYZE knowledge") if False else None
        for q in ("vcs abrem que horas","tem estacionameto?","qual a taxa de entrega?"):
            t3=time.perf_counter(); c=time.process_time()
            for _ in range(10): m=await knowledge.search(scope,q,language='pt')
            print(n,q,'ms',(time.perf_counter()-t3)*100,'client cpu',(time.process_time()-c)*100,m[0].title[:50] if m else None,m and m[0].score)
        print('replace',t1-t,'again',t2-t1)
    cur=await scope.conn.execute("EXPLAIN (ANALYZE) SELECT id FROM knowledge WHERE owner_id=%s AND search @@ 'horari'::tsquery",[scope.owner_id])
    for x in await cur.fetchall(): print(x)
