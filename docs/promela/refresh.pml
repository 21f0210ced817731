/* The refresh transaction of vault-ticket, for spin. Run it with ./check; README.md tells what each property means,
 * what was proved and what is left out. The numbers 1 to 9 are those of the steps in README.md.
 *
 * -D options: N holders, 2 to 4 (0 and 2 run on host 0, 1 and 3 on host 1); FORGIVES=1: the server answers its last
 * rotated token with the same pair again, 0: any reuse revokes the family; WITHOUT: a safeguard to take away, 0: none.
 * How often the world may do what it does, each at any moment: CRASHES (SIGKILL), STALLS (a claim ends while its holder
 * lives), RESEEDS (0 or 1), EDITS (of another field of the grant), LOST (a POST without answer, processed or not),
 * LOSTW (a grant write that is done but reported as a mismatch), EXPIRIES (of a published ticket). */
#define has(safeguard)	(WITHOUT != safeguard)
#define CLAIM_CAS	1
#define LOOK		2
#define ABSENT		3	/* no record of the last ticket: look again */
#define FORGET		4	/* taking over an expired claim drops the record */
#define PUBLISH_FIRST	5
#define SAVE_FIRST	6
#define JOURNAL		7
#define REPLAY		8
#define DEADLINE	9
#define RESEED_WINS	10
#define NEWER		11	/* a verdict needs a grant no older than our claim */
#define DOUBT		12
#define CARRY		13	/* a late save onto a claim of others hands the doubt on to the new token */
#define OWN_CLAIM	14	/* releasing takes away no claim but our own */

/* Tokens: 1, 2, 3 … are one family; 16, 17 … the one that a person seeds. Tickets count up. 0: the field is absent. */
typedef Doc { byte ver, tok, claim, fp, rec, latch, doubt }
typedef Journal { byte new, spent, claim, ver }
Doc lead, stand;		/* the grant: at the leader; on a standby that lags */
byte leased, leased_s;		/* the ticket on the leased path, the same two */
Journal jr[2];			/* per host, outlives a process */
bool flock[2];
byte serial, ended;		/* claims made so far; the claims up to this one are over: until < the server's now */
byte tickets, stale;		/* tickets issued so far; those up to this one have expired */
byte cur[2]; bool revoked[2];	/* the authorization server, per family: the live token; killed by reuse */
byte crashes = CRASHES, stalls = STALLS, reseeds = RESEEDS, edits = EDITS, lost = LOST, lostw = LOSTW, expiries = EXPIRIES;

/* For the properties and the passing of time only */
byte mine[4], posting[4];	/* the claim that a living holder acts under; the token that it is POSTing */
byte journaled[2], shown[2];	/* per family: the last token in a journal; the last whose ticket was published */
byte posts, finished, served;
bool P1 = true, P2 = true, P3 = true, P4 = true, P5 = true, P6 = true, P7 = true;

#define FAM(t)		((t) / 16)
#define MAX(a, b)	((a) > (b) -> (a) : (b))
#define HELD(t)		(lead.tok == (t) || jr[0].new == (t) || jr[1].new == (t))
#define KEPT(f)		(!journaled[f] || journaled[f] != cur[f] || HELD(journaled[f]))
#define ACTS(i)		(mine[i] == lead.claim)
#define ALIVE		(ACTS(0) || ACTS(1) || ACTS(2) || ACTS(3))
#define BUSY		((ACTS(0) && posting[0]) || (ACTS(1) && posting[1]) || (ACTS(2) && posting[2]) || (ACTS(3) && posting[3]))

inline must(p, cond) { p = (cond); assert(p) }
inline copy(to, from) {
	to.ver = from.ver; to.tok = from.tok; to.claim = from.claim; to.fp = from.fp;
	to.rec = from.rec; to.latch = from.latch; to.doubt = from.doubt
}
inline read_grant() {		/* any node answers (left out: the very same stale answer twice in a row) */
	if
	:: copy(d, lead)
	:: stand.ver != lead.ver && stand.ver != d.ver -> copy(d, stand)
	fi
}
inline write_grant(cas) {	/* check-and-set at the version that d was read at, judged by the leader */
	if
	:: d.ver == lead.ver || !(cas) ->
		must(P4, FAM(d.tok) == FAM(lead.tok));
		d.ver = lead.ver + 1; copy(lead, d); serial = MAX(serial, d.claim);
		if
		:: ok = true
		:: lostw > 0 -> lostw--; ok = false
		fi
	:: else -> ok = false
	fi
}
inline publish_ticket() {	/* check-and-set too: the ticket that lasts longer stays */
	leased = MAX(leased, tick); shown[FAM(got)] = MAX(shown[FAM(got)], got)
}
#define STEP	must(P3, KEPT(FAM(lead.tok))); if :: skip :: crashes > 0 -> crashes--; goto sigkill fi

mtype = { open, answered, rejected, unanswered, unsent, theirs };

proctype Holder(byte me; byte h) {
	Doc d; byte seen, floor, got, tick, was, i; bool ok, look, doubt, over; mtype how = open;

	atomic { !flock[h] -> flock[h] = true; STEP }
find:	skip; atomic {						/* 1: any node answers */
		if :: seen = leased :: leased_s != leased -> seen = leased_s fi;
		if :: seen > stale -> served++; goto bye :: else fi;
		STEP
	}
	if :: jr[h].new && has(REPLAY) -> goto reread :: else fi;	/* 9 */
grant:	skip; atomic {						/* 2 */
		read_grant();
		if :: d.latch == d.tok -> goto bye :: else fi;	/* an error that names its cause */
		STEP
	}
	if							/* wait: for another version, or the claim's end */
	:: d.claim > ended -> (lead.ver != d.ver || d.claim <= ended); goto find
	:: else
	fi;
	atomic {						/* 3: claim */
		over = (d.claim != 0);
		if :: over && has(FORGET) -> d.rec = 0 :: else fi;
		look = has(LOOK) && (d.rec > seen || (!d.rec && has(ABSENT)) || (over && !has(FORGET)));
		if :: over && d.fp == d.tok && has(DOUBT) -> d.doubt = d.tok :: else fi;
		doubt = (d.doubt == d.tok); over = false; was = leased;
		d.claim = serial + 1; d.fp = d.tok;
		write_grant(has(CLAIM_CAS));
		if :: !ok -> goto find :: else fi;
		mine[me] = d.claim; floor = d.ver; ok = false; seen = 0;
		STEP
	}
	if							/* 4: the second look, at the leader */
	:: look -> atomic {
		seen = leased;
		if :: seen > stale -> tick = seen; how = answered; goto release :: else fi;
		STEP }
	:: else
	fi;
	atomic {						/* 5: the request, as it reaches the server */
		if :: mine[me] <= ended && has(DEADLINE) -> how = unsent; goto release :: else fi;
		for (i : 0 .. N-1) { must(P1, i == me || posting[i] != d.tok) }
		i = 0;
		must(P2, d.tok == cur[FAM(d.tok)] || (doubt && !jr[h].new && (
			journaled[FAM(d.tok)] <= d.tok ||	/* its successor reached no journal, */
			lead.tok != d.tok ||			/* or was saved after our claim, */
			(jr[1-h].new == d.tok + 1 && shown[FAM(d.tok)] <= d.tok))));	/* or is kept on the other host */
		must(P5, was <= stale); was = 0; look = false;
		posting[me] = d.tok; posts++;
		if
		:: revoked[FAM(d.tok)] -> how = rejected
		:: !revoked[FAM(d.tok)] && d.tok == cur[FAM(d.tok)] -> how = answered; cur[FAM(d.tok)]++
		:: !revoked[FAM(d.tok)] && d.tok + 1 == cur[FAM(d.tok)] && FORGIVES -> how = answered
		:: !revoked[FAM(d.tok)] && d.tok + 1 + FORGIVES <= cur[FAM(d.tok)] ->
			must(P6, !FORGIVES); how = rejected; revoked[FAM(d.tok)] = true
		:: lost > 0 -> lost--; how = unanswered
		fi;
		STEP
	}
	atomic {						/* 5: the answer is read */
		posting[me] = 0;
		if
		:: how == answered -> tickets++; tick = tickets; got = cur[FAM(d.tok)]
		:: how == answered && lost > 0 -> lost--; how = unanswered; goto release
		:: how == rejected -> must(P7, doubt); goto release
		:: how == unanswered -> goto release
		fi;
		STEP
	}
	atomic {						/* 6: journal */
		jr[h].new = got; jr[h].spent = d.tok; jr[h].claim = mine[me]; jr[h].ver = floor;
		journaled[FAM(got)] = got;
		if :: !has(SAVE_FIRST) -> publish_ticket() :: else fi;
		STEP
	}
save:	skip; atomic {						/* 7, for a replay too: all it knows is the journal */
		if
		:: d.ver < jr[h].ver && has(NEWER) -> ok = false
		:: !(d.ver < jr[h].ver && has(NEWER)) ->
			if
			:: d.tok == jr[h].spent || (d.tok != jr[h].new && !has(RESEED_WINS)) ->
				d.doubt = (d.claim != jr[h].claim && has(CARRY) -> jr[h].new : 0);
				d.tok = jr[h].new; d.latch = 0;
				write_grant(true)
			:: else -> ok = true; if :: d.tok != jr[h].new && tick -> how = theirs :: else fi
			fi
		fi;
		if :: !ok -> goto reread :: else fi;
		STEP
	}
	atomic {						/* 8 */
		jr[h].new = 0; jr[h].spent = 0; jr[h].claim = 0; jr[h].ver = 0;
		if :: !tick -> goto find :: how == theirs || (tick && !has(PUBLISH_FIRST)) -> goto release :: else fi;
		STEP
	}
publish: skip; atomic {
		publish_ticket();
		if :: !has(PUBLISH_FIRST) -> served++; goto bye :: else fi;
		STEP
	}
release: skip; atomic {						/* own claim out, and what was learnt in */
		if
		:: d.ver < floor && has(NEWER) -> ok = false
		:: !(d.ver < floor && has(NEWER)) && (d.claim == mine[me] || (d.claim && got && !has(OWN_CLAIM))) ->
			if
			:: how == rejected && d.tok == d.fp -> d.latch = d.tok
			:: how == unanswered && d.tok == d.fp -> d.doubt = d.tok
			:: how == answered && got -> d.rec = MAX(d.rec, tick)
			:: else
			fi;
			d.claim = 0; d.fp = 0;
			write_grant(true)
		:: else -> ok = true				/* taken over, or seeded anew */
		fi;
		if :: !ok -> goto again :: else fi;
		mine[me] = 0; floor = 0;
		STEP
	}
	atomic {
		if
		:: how == answered && got && !has(PUBLISH_FIRST) -> goto publish
		:: how == theirs || (how == answered && (!got || has(PUBLISH_FIRST))) -> served++
		:: how == unsent || (how == rejected && d.latch != d.tok) -> how = open; goto find
		:: else						/* rejected, or no answer: an error that names its cause */
		fi
	}
	goto bye;
reread:	skip; atomic { read_grant(); STEP } goto save;
again:	skip; atomic { read_grant(); STEP } goto release;
sigkill: atomic { if :: !has(JOURNAL) -> jr[h].new = 0 :: else fi; goto bye }
bye:	atomic {						/* zeros: fewer states to tell apart */
		d.ver = 0; d.tok = 0; d.claim = 0; d.fp = 0; d.rec = 0; d.latch = 0; d.doubt = 0;
		seen = 0; floor = 0; got = 0; tick = 0; was = 0; ok = false; look = false; doubt = false; how = open;
		mine[me] = 0; posting[me] = 0; flock[h] = false; finished++
	}
}

proctype World() {
end:	do
	:: atomic { lead.claim > ended && !ALIVE -> ended = lead.claim }
	:: atomic { lead.claim > ended && ALIVE && !BUSY && stalls > 0 ->	/* a POST's deadline is shorter than a claim */
		stalls--; ended = lead.claim }
	:: atomic { expiries > 0 && leased > stale -> expiries--; stale = tickets }
	:: atomic { stand.ver != lead.ver -> copy(stand, lead) }
	:: atomic { leased_s != leased -> leased_s = leased }
	:: atomic { edits > 0 -> edits--; lead.ver++ }
	:: atomic { reseeds > 0 -> reseeds--; lead.ver++; lead.tok = 16; cur[1] = 16;
		if
		:: lead.claim = 0; lead.fp = 0; lead.rec = 0; lead.latch = 0; lead.doubt = 0	/* written anew */
		:: skip										/* patched */
		fi }
	od
}

init {
	byte i;
	atomic {
		stand.ver = 1; stand.tok = 1; lead.ver = 2; lead.tok = 2; cur[0] = 2;
		leased = 1; leased_s = 1; tickets = 1; stale = 1; lead.rec = 1;
		run World();
		for (i : 0 .. N-1) { run Holder(i, i % 2) }
	}
	finished == N;
	must(P3, KEPT(FAM(lead.tok)));
	if
	:: crashes == CRASHES && stalls == STALLS && lost == LOST ->
		must(P6, served == N);
		must(P5, posts == 1 || RESEEDS + EXPIRIES + LOSTW > 0)
	:: else
	fi
}
