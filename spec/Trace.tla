------------------------------- MODULE Trace -------------------------------
(* Is a trace a behaviour of the protocol? `Events` is what one golden trace says, line by line (`src/main.rs` turns
   the text into it). Each event must be a step of Handoff.tla, with the states, messages and effects that the trace names.

   `Ways` are ways to corrupt the trace, one event at a time. A corrupted trace must be refused. *)
EXTENDS Handoff, TLC

CONSTANTS
  Events,  \* what was seen
  Start,   \* "serving": the first daemon serves; "nobody": a cold start is due
  Ways     \* "none", and ways to corrupt the trace

VARIABLES
  at,    \* the event that is next
  c,     \* how this trace is corrupted, and where
  more,  \* links beside the one of a handoff, which a daemon sees open and close
  due,   \* daemons that are to try the lock next
  rec    \* a recovery was announced, and its finding was not

tvars == <<d, s, lk, k, j, f, at, c, more, due, rec>>

-----------------------------------------------------------------------------
(* Corruptions. *)

Other(n) == IF n = 1 THEN 2 ELSE 1

\* The next event of the same process, or 0.
Later(i) ==
  LET later == {n \in (i + 1)..Len(Events) : Events[n].p = Events[i].p} IN
  IF later = {} THEN 0 ELSE CHOOSE n \in later : \A o \in later : n <= o

\* Another word of the same kind that the trace has, or "".
Words(i) == {Events[n].a : n \in {m \in 1..Len(Events) : Events[m].e = Events[i].e}} \ {Events[i].a}

Possible(way, i) ==
  CASE way = "none" -> i = 1
    [] way = "drop" -> TRUE
    [] way = "swap" -> Later(i) # 0 /\ Events[i] # Events[Later(i)]
    [] way = "process" -> Events[i].p # 0 \/ Events[i].q # 0
    [] way = "word" -> Words(i) # {}
    [] way = "number" -> Events[i].e = "record"
    [] way = "mute" -> Events[i].says # <<>>
    [] way = "state" -> Events[i].to # "" /\ ~Events[i].cut
    [] OTHER -> FALSE

Changed(e, way, i) ==
  CASE way = "process" -> IF e.p # 0 THEN [e EXCEPT !.p = Other(@)] ELSE [e EXCEPT !.q = Other(@)]
    [] way = "word" -> [e EXCEPT !.a = CHOOSE w \in Words(i) : TRUE]
    [] way = "number" -> [e EXCEPT !.n = @ + 1]
    [] way = "mute" -> [e EXCEPT !.says = Tail(@)]
    [] way = "state" -> [e EXCEPT !.to = IF @ = "sealed" THEN "drained" ELSE "sealed"]
    [] OTHER -> e

Length == IF c.way = "drop" THEN Len(Events) - 1 ELSE Len(Events)

\* The n-th event of the trace as it is checked.
Event(n) ==
  CASE c.way = "drop" -> Events[IF n < c.i THEN n ELSE n + 1]
    [] c.way = "swap" -> Events[IF n < c.i \/ n > c.o THEN n ELSE IF n = c.o THEN c.i ELSE n + 1]
    [] c.way # "none" /\ n = c.i -> Changed(Events[n], c.way, n)
    [] OTHER -> Events[n]

-----------------------------------------------------------------------------

TInit ==
  /\ c \in {[way |-> w, i |-> i, o |-> IF w = "swap" THEN Later(i) ELSE 0] :
              <<w, i>> \in {<<w, i>> \in Ways \X (1..Len(Events)) : Possible(w, i)}}
  /\ at = 1
  /\ more = [i \in Ids |-> 0]
  /\ due = {}
  /\ rec = FALSE
  /\ IF Start = "serving" THEN Init
     ELSE /\ d = [i \in Ids |-> Default("none", "none")]
          /\ s = NoS("cold", TRUE, 1, 0)
          /\ lk = [i \in Ids |-> Fresh]
          /\ k = [lock |-> 0, gen |-> 0, hold |-> 0, for |-> 0, wr |-> FALSE, path |-> 0]
          /\ j = [run |-> 0, com |-> TRUE, inc |-> 0, suc |-> 0, ret |-> FALSE, was |-> 0]
          /\ f = [left |-> Faults, swaps |-> Swaps]

\* The names that the trace has for a state.
Found == {"Serves", "Nobody", "Cancelled"}
Names(p) ==
  IF p # 0 THEN {d[p].st}
  ELSE CASE s.st = "await-any" -> {"await-serving"}
         [] s.st = "await-final" -> {"await-others"}
         [] s.st = "done" /\ s.v \in Found -> {"await-serving", "await-others", "done"}
         [] OTHER -> {s.st}

From(e) == e.from \in {"", "start"} \/ e.from \in Names(e.p)
Reaches(e) == e.to = "" \/ e.cut \/ e.to \in Names(e.p)

Does(e, word, really) == e.cut \/ ((word \in e.does) <=> really)

Said(e, i) == SelectSeq(e.says, LAMBDA m : m.to = i)
Types(q) == [n \in 1..Len(q) |-> q[n].t]

\* A daemon did what the trace says that it did, and said what it says that it said.
DaemonDid(e) ==
  LET i == e.p
      x == d[i]
      y == d'[i]
  IN
  /\ y.pr = "up" => Reaches(e)'
  /\ y.pr # "up" => e.to \in {"", "gone"}
  /\ Does(e, "hook", y.hr = "run" /\ (x.hr # "run" \/ x.hk # y.hk))
  /\ Does(e, "unlocks", k.lock = i /\ k'.lock = 0)
  /\ Does(e, "exits", x.pr = "up" /\ y.pr # "up")
  /\ Does(e, "finalize", x.fin # "told" /\ y.fin = "told")
  /\ Does(e, "serves", ~x.srv /\ y.srv)
  /\ Does(e, "rests", x.srv /\ ~y.srv)
  /\ e.cut \/ ~Open(lk[i]) \/ Types(lk'[i].ds) = Types(lk[i].ds) \o Types(e.says)

SupervisorDid(e) ==
  /\ Reaches(e)'
  \* A process that is dying already can't be seen to be killed.
  /\ (\E i \in Ids : d[i].pr = "up" /\ d'[i].pr # "up") => e.cut \/ "kills" \in e.does
  /\ "kills" \in e.does => \E i \in Ids : d'[i].pr = "dying"
  /\ Does(e, "reports", s.st # "done" /\ s'.st = "done" /\ s'.v \notin Found)
  /\ e.v # "" => s'.v = e.v
  /\ e.cut \/ \A i \in Ids : (Open(lk[i]) /\ Open(lk'[i])) => Types(lk'[i].sd) = Types(lk[i].sd) \o Types(Said(e, i))

\* The steps of a daemon that a trace names.
DaemonStep(e) ==
  LET i == e.p IN
  CASE e.e = "begins" -> DBegins(i)
    [] e.e = "starts" -> \E ok \in BOOLEAN : DStarts(i, ok)
    [] e.e = "recv" -> lk[i].sd # <<>> /\ Head(lk[i].sd).t = e.a /\ DRecv(i)
    [] e.e = "ran" -> d[i].hk = e.a /\ \E how \in {"ok", "odd"} : DHookRun(i, how)
    [] e.e = "fails" -> d[i].hk = e.a /\ DHookRun(i, "bad")
    [] e.e = "returned" -> d[i].hr \in {"ok", "odd"} /\ DHook(i)
    [] e.e = "failed" -> d[i].hr = "bad" /\ DHook(i)
    [] e.e = "held" -> DLockHeld(i)
    [] e.e = "busy" -> IF "exits" \in e.does THEN DLockBusy(i)
                       ELSE k.lock # 0 /\ Locking(d[i]) /\ UNCHANGED vars
    [] e.e = "record" -> DRecord(i, TRUE) /\ k'.gen = e.n
    [] e.e = "path" -> DPath(i)
    [] e.e = "closed" -> DClosed(i)
    [] e.e = "silent" -> DSilent(i) \/ (d[i].ses = "gone" /\ e.from = e.to /\ UNCHANGED vars)
    [] OTHER -> FALSE

\* What happens to a process, and is no turn of its own.
Happens(e) ==
  LET i == e.p IN
  CASE e.e = "dies" -> \E keep \in BOOLEAN : DCrash(i, keep)
    [] e.e = "has ended" -> DEnds(i)
    [] e.e = "connected" -> Types(e.says) = <<"Hello">> /\ IF Open(lk[i]) \/ lk[i].s \/ lk[i].d THEN UNCHANGED vars ELSE Accepts(i)
    [] e.e = "beat of the supervisor" -> lk[i].lastS.t = e.a /\ BeatS(i)
    [] e.e = "beat of the daemon" -> \* It may have been on its way when its sender died.
         /\ lk[i].s /\ lk[i].lastD.t = e.a
         /\ lk' = [lk EXCEPT ![i].ds = Append(@, lk[i].lastD)]
         /\ UNCHANGED <<d, s, k, j, f>>
    [] e.e = "drop" -> Lose(i)
    [] e.e = "reset" -> \E keep \in BOOLEAN : Reset(i, keep)
    [] OTHER -> FALSE

SupervisorStep(e) ==
  CASE e.e = "asked" -> SAsked
    [] e.e = "begins" -> SStarts
    [] e.e = "recovers" -> s.st = "await-any" /\ ~rec /\ UNCHANGED vars
    [] e.e = "recv" -> Attends /\ (InRecovery => rec) /\ lk[e.q].ds # <<>> /\ Head(lk[e.q].ds).t = e.a /\ SRecv(e.q)
    [] e.e = "spawns" -> Unborn # {} /\ (e.q = 0 \/ Next1 = e.q) /\ SSpawns
    [] e.e = "spawn fails" -> SSpawnFails
    [] e.e = "journal" -> SJournal(TRUE) /\ (s.jp = e.a \/ (s.jp = "Over" /\ s.v = e.a))
    [] e.e = "journal fails" -> SJournal(FALSE) /\ s.jp = e.a
    [] e.e = "incumbent ended" -> Attends /\ s.inc # 0 /\ SEnded(s.inc)
    [] e.e = "successor ended" -> Attends /\ s.suc # 0 /\ SEnded(s.suc)
    [] e.e = "incumbent closed" -> Attends /\ s.inc # 0 /\ (SClosed(s.inc) \/ SRefused)
    [] e.e = "successor closed" -> Attends /\ s.suc # 0 /\ SClosed(s.suc)
    [] e.e = "timer" -> STimer \/ SPatience
    [] e.e = "cancelled" -> STimer \/ UNCHANGED vars
    [] e.e = "refused" -> SRefused
    [] e.e = "finds serving" -> Attends /\ rec /\ RFound(e.q)
    [] e.e = "kills" -> RKills(e.q)
    [] e.e = "final" -> RFinal
    [] e.e = "finds" -> /\ rec /\ s.st = "done" /\ s.v = e.a /\ (e.q # 0 => s.run = e.q)
                        /\ UNCHANGED vars
    [] OTHER -> FALSE

\* Steps of the supervisor that a trace does not name.
Hidden ==
  \/ s.st = "done" /\ (s.v \in Found => ~rec) /\ (s.v = "Cancelled" \/ Heard) /\ SDone
  \/ SLost
  \/ RNote
  \/ rec /\ RNobody
  \/ s.st = "await-final" /\ d[s.run].fin = "told" /\ RFinal
  \/ \E i \in Ids : DGoesOn(i)
  \* A process that dies or is stopped in a turn may not have sent what the turn says.
  \/ at > 1 /\ Event(at - 1).cut /\ \E i \in Ids : Lose(i) /\ Event(at - 1).p \in {0, i}

\* What the trace is to say next.
Expects(e) ==
  /\ rec' = CASE e.p = 0 /\ e.e = "recovers" -> TRUE
              [] e.p = 0 /\ (e.e = "finds" \/ e.kind = "supervisor dies") -> FALSE
              [] OTHER -> rec
  /\ due' = IF e.p = 0 THEN due
            ELSE IF e.cut \/ e.e \in {"held", "busy", "dies", "has ended"} THEN due \ {e.p}
            ELSE IF e.kind # "turn" THEN due
            ELSE IF Locking(d'[e.p]) /\ ~Locking(d[e.p]) THEN due \cup {e.p} ELSE due
  /\ (e.p \in due /\ (e.kind = "turn" \/ e.e = "connected")) => e.e \in {"held", "busy"} /\ e.a # "again"

Step(e) ==
  /\ From(e)
  /\ CASE e.kind = "happens" ->
            /\ Happens(e)
            /\ more' = IF e.e = "connected" /\ (lk[e.p].s \/ lk[e.p].d) THEN [more EXCEPT ![e.p] = @ + 1] ELSE more
       [] e.kind = "supervisor dies" ->
            UNCHANGED more /\ \E lost \in SUBSET {i \in Ids : lk[i].sd # <<>>} : SCrash(lost)
       [] e.p = 0 -> SupervisorStep(e) /\ SupervisorDid(e) /\ UNCHANGED more
       [] OTHER -> \/ Up(e.p) /\ DaemonStep(e) /\ DaemonDid(e) /\ UNCHANGED more
                   \/ /\ e.e = "closed" /\ more[e.p] > 0 /\ Reaches(e)
                      /\ more' = [more EXCEPT ![e.p] = @ - 1] /\ UNCHANGED vars
  /\ Expects(e)

\* At the end of a trace all has come to rest; what was sent last may be on its way.
Closed == \A i \in Ids : ~lk[i].s /\ (lk[i].d => lk[i].sd # <<>>) /\ more[i] = 0
\* How far a trace was consumed; for a search by hand.
CONSTANT Probe
NotProbed == at < Probe

AtRest == Good /\ Closed /\ due = {} /\ ~rec

TNext ==
  \/ /\ at <= Length
     /\ \/ /\ \E e \in {Event(at)} : Step(e)
           /\ at' = at + 1
           /\ UNCHANGED c
        \/ Hidden /\ UNCHANGED <<at, c, more, due, rec>>
  \/ /\ at = Length + 1
     /\ \/ Hidden /\ UNCHANGED <<at, c, more, due, rec>>
        \* All that was consumed to the end is one state.
        \/ /\ AtRest
           /\ c.way = "none" \/ PrintT(<<"believed", c>>)
           /\ at' = Length + 2
           /\ d' = <<>> /\ s' = <<>> /\ lk' = <<>> /\ k' = <<>> /\ j' = <<>> /\ f' = <<>>
           /\ more' = <<>> /\ due' = <<>> /\ rec' = <<>>
           /\ UNCHANGED c

TSpec == TInit /\ [][TNext]_tvars

Consumed == at = Length + 2 /\ c.way = "none"
Corrupt == at = 1 /\ c.way # "none"
Believed == at = Length + 2 /\ c.way # "none"

=============================================================================
