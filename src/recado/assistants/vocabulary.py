"""The words that the keyless assistant knows by heart, in Portuguese, Spanish and English, without accents.

They only ever widen or narrow a question, never what is stored of an entry: changing them needs no new index.
"""

from __future__ import annotations

from typing import Literal

Language = Literal["pt", "es", "en"]


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


#: How people shorten words in chat.
SHORT = {
    "hj": "hoje",
    "amh": "amanhã",
    "hr": "horas",
    "hrs": "horas",
    "hs": "horas",
    "dom": "domingo",
    "sab": "sábado",
    "fds": "sábado",
    "end": "endereço",
    "loc": "localização",
    "pgto": "pagamento",
    "pagto": "pagamento",
    "cred": "crédito",
    "deb": "débito",
    "estac": "estacionamento",
    "tel": "telefone",
    "fone": "telefone",
    "zap": "whatsapp",
    "wpp": "whatsapp",
    "niver": "aniversário",
    "bday": "birthday",
    "pls": "please",
    "u": "you",
    "r": "are",
    "plz": "please",
}

#: Words without a meaning of their own in a question to a company, with what chat adds to them.
STOP = (
    # Portuguese
    _set(
        """
        a o as os um uma uns umas de do da dos das em no na nos nas por pelo pela pelos pelas para pra pro pras
        pros com sem sob sobre entre ate apos ante e ou mas nem que q se como qual quais quando quanto quanta
        quantos quantas qnt qnto qto quem porque pq porq pois ja so tambem tb tbm nao n naum sim ss muito mt mto
        mais menos bem mal aqui ali la ai isso isto aquilo esse essa esses essas este esta estes estas aquele
        aquela ele ela eles elas eu tu vc vcs voce voces ce ces gente me te lhe lhes meu minha meus minhas teu
        tua seu sua seus suas nosso nossa nossos nossas algum alguma alguns algumas nenhum nenhuma todo toda
        todos todas tudo nada algo alguem ser sou eh era sao foi sera seria sejam estar estou estao estava ta
        tao tava to ter tem tenho temos teria tinha haver ha existe existem fazer faz fazem fazendo faco fariam
        poder posso pode podem poderia poderiam consigo consegue conseguem conseguir queria quero querer quer
        querem gostaria gostava preciso precisa precisava saber sabe sabem sei dizer diz dizem diga informar
        informa informacao informacoes info duvida duvidas pergunta perguntar ir vou vai vao vamos dar dao vir
        vem ver ficou favor pf pfv pfvr pfr porfavor plis obrigado obrigada obg brigado brigada vlw valeu oi oie
        ola opa ei eae eai bom boa bons boas dia dias tarde tardes noite noites beleza blz ok okay certo entao
        ne tipo assim agora moca moco amigo amiga senhor senhora queridos querida querido pessoal galera
        hoje amanha ontem depois antes
        """
    )
    # Spanish
    | _set(
        """
        el los las un unos unas del al en por para con sin y u o pero que cual cuales cuando cuanto cuanta
        cuantos cuantas quien quienes como porque si no ya muy mas menos tambien tampoco yo usted ustedes ud uds
        vos vosotros nosotros ellos ellas le les lo la mi mis su sus tu tus este esta estos estas ese esa esos
        esas eso esto aquel algun alguna algunos algunas ningun ninguna todo toda todos todas algo alguien ser
        soy es son era fue seria estar estoy estan estaba tener tengo tiene tienen tenes hay haber hacer hago
        hace hacen poder puedo puede pueden podria podrian quiero quisiera queria querer quiere necesito
        necesita saber sabe saben decir dice digame informacion duda pregunta ir voy va van dar favor porfa
        gracias hola buenas buenos buen dia dias tarde tardes noche noches bueno vale ahora senor senora xfa x
        me te se nos os q xq pq tal una hoy manana ayer despues antes
        """
    )
    # English
    | _set(
        """
        a an the of in on at by for from with without to into and or but not no nor so if then than that this
        these those there here it its i me my mine we us our you your yours he she they them their what which
        who whom whose when how why is are am was were be been being do does did doing done have has had having
        can could may might must shall should will would im ive id youre dont doesnt isnt arent cant please
        thanks thank hi hello hey good morning afternoon evening night ok okay yes just also too very much many
        any some all every something anything someone anyone know tell want wanted need like wondering ask
        question info information let get got guys sir madam today tomorrow yesterday whats hows wheres
        """
    )
)

#: Words that ask for the same thing in what every company is asked, across the languages. A question mark makes a
#: word vague: it is no evidence by itself ("que horas"). An exclamation mark makes it so in a question only: an entry
#: that says "onde" does tell the address.
_GROUPS = (
    # opening hours
    """
    horario horarios hora? horas? funcionamento funciona? funcionam? aberto aberta abertos abre abrem abrir
    abrimos abriu abrira fecha fecham fechar fechado fechamos fechamento expediente atendimento atendem? abren
    abierto abierta abiertos atencion cierra cierran cerrar cerrado cerramos cierre atienden? atendemos? hours
    hour? open opens opened opening close closes closed closing time? schedule
    """,
    # asking for something, and taking it along
    """
    passa? passar? manda? mandar? envia? deixo? deixar? levar? trazer? pasa? pasas? pasar? mandas? dejar?
    llevar? traer? bring? take? give? send? show? leave?
    """,
    # price
    """
    preco precos valor valores custa! custam! custo tabela precio precios cuesta! cuestan! vale? valen? price
    prices cost? costs? pricing
    """,
    # where
    """
    endereco enderecos localizacao localizada localizado localizados onde! aonde! fica? ficam? mapa rua chegar?
    direccion ubicacion ubicado ubicada ubicados donde! queda? quedan? llegar? calle address location located
    where! find? map street perto? proximo? cerca? near? nearby?
    """,
    # delivery
    """
    entrega entregas entregam entregar entregamos delivery frete motoboy domicilio envio envios enviam enviar?
    enviamos entregan reparto reparten envian envia? deliver delivers deliveries shipping ship casa? home?
    """,
    # payment
    """
    pagamento pagamentos pagar pago paga? pagam? pix cartao cartoes credito debito dinheiro boleto aceitam?
    aceita? passa? passam? pagos tarjeta tarjetas efectivo transferencia aceptan? acepta? pay payment payments
    paying card cards cash accept? parcela parcelas parcelar parcelado cuotas installments
    """,
    # orders
    """
    encomenda encomendas encomendar encomendo pedido pedidos pedir? antecedencia encargo encargos encargar
    anticipacion order orders ordering preorder advance?
    """,
    # bookings
    """
    reserva reservas reservar agendar agendamento agenda? reservation reservations booking book? appointment
    cita turno
    """,
    # parking
    """
    estacionamento estacionar estaciono estacionamiento aparcar aparcamiento parqueo parking park carro? carros?
    coche? auto? car?
    """,
    # exchange and return
    """
    troca trocas trocar devolucao devolver devolucoes cambio? cambios? cambiar? return returns refund exchange
    reembolso
    """,
    # work
    """
    emprego trabalhar? vaga? vagas? curriculo contratando contratam empleo trabajar? contratan job jobs hiring
    hire resume
    """,
    # contact
    """
    telefone fone ligar telefono llamar phone call? whatsapp contato contacto
    """,
    # birthdays
    """
    aniversario aniversarios cumpleanos birthday birthdays
    """,
    # pets
    """
    cachorro cachorros cao caes pet pets animal animais gato gatos perro perros mascota mascotas dog dogs cat
    cats
    """,
)

_MEMBERS = tuple(group.split() for group in _GROUPS)

#: Each group's words that call for the others, and the words that they call for.
SAME = tuple(
    (frozenset(word.rstrip("?!") for word in group), frozenset(word.rstrip("!") for word in group if word[-1] != "?"))
    for group in _MEMBERS
)

VAGUE = frozenset(word.rstrip("?!") for group in _MEMBERS for word in group if word[-1] in "?!")

#: Small words by which a language is told from the other two.
TELLING: dict[Language, frozenset[str]] = {
    "pt": _set(
        """
        abrem aceitam agora amanha ao aos aqui ate bem blz boa bolo bom com da das dia do dos e eh em entregam
        esta estao fazem fecham fica ficam gente gostaria hoje hora horario horas isso ja mais mas meu minha na
        nao noite obg obrigada obrigado oi ola onde os pao para pela pelo por porque posso pra preciso quais
        qual quando quanto que queria quero sao sem seu sim sua tambem tarde tb tbm tem tenho tudo um uma valeu
        vc vcs voce voces
        """
    ),
    "es": _set(
        """
        abren aceptan ahora al aqui bien buen buenas buenos cierran con cual cuales cuando cuanto cuesta del
        dias donde el ella en entregan es esta estan gracias hacen hasta hay hola hora hoy las le lo los manana
        mas mi muy necesito noches para pero por porque puedo que queda quiero quisiera si sin son su tal
        tambien tardes tengo tiene tienen un una unos usted ustedes y ya
        """
    ),
    "en": _set(
        """
        afternoon am and any are at be can close could did do does evening for from good has have hello hey hi
        how i in is it many morning much my need night not of on open or please thank thanks that the there
        these they this those to today tomorrow want was we were what when where which who why will with without
        would yes you your
        """
    ),
}

#: What opens a conversation.
OPENING = _set(
    """
    afternoon alo boa bom buenas buenos dia dias eae eai ei evening good greetings hello hey hi hola morning
    noche noches noite noites oi oie ola opa salve tarde tardes
    """
)

#: What thanks.
THANKS = _set(
    """
    brigada brigado gracias grata grato obg obrigada obrigado thank thanks thx ty valeu vlw
    """
)

#: What says nothing more beside a greeting or thanks.
COURTESY = _set(
    """
    a ai are beleza bem blz bom buen como de e esta estao estas everyone favor gente how joia mil much muchas
    muito muy nada ok okay pessoal por que si sim so ta tal td there todos tudo u vai vc vcs very voce voces yes
    you
    """
)
