------------------------------ MODULE Handoff ------------------------------
(* The protocol of docs/protocol.md, written from that page and not from the code. Numbers of rules and
   sections are those of the page. README.md beside this file says what is left out. *)
EXTENDS Naturals, Sequences, FiniteSets

CONSTANTS
  Daemons,  \* how many daemons there may be, one after another; the first serves at the beginning
  Lives,    \* how many supervisors, one after another
  Swaps,    \* how many handoffs the operator asks for
  Faults,   \* how many faults happen
  Kinds,    \* of which kinds: "crash", "loss", "reset", "timer", "hook", "disk"
  Flaw      \* which rule is broken on purpose; "none" for the protocol as it is

VARIABLES
  d,   \* the daemons
  s,   \* the supervisor
  lk,  \* the link between the supervisor and each daemon
  k,   \* the kernel and the data directory: the lock, the record, the control path
  j,   \* the journal
  f    \* faults and handoffs that may still come

vars == <<d, s, lk, k, j, f>>
Ids == 1..Daemons

\* A message: its type and one number (a process that it names, or 0).
M(t) == [t |-> t, n |-> 0]
MN(t, n) == [t |-> t, n |-> n]

Default(st, pr) ==
  [st |-> st,           \* the state of section 7 or 8; "born", "begun" before, "gone" after
   pr |-> pr,           \* "up", "dying" (its links are closed, its lock is not free), "ended"
   role |-> "suc",
   old |-> 0,           \* the daemon that it replaces
   new |-> 0,           \* the daemon that is to replace it
   gen |-> 0,           \* the generation at the spawn of a cold start
   srv |-> FALSE,       \* serves, and may write
   fresh |-> FALSE,     \* what it has opened is all that was acknowledged
   hk |-> "none",       \* the hook that runs
   hr |-> "none",       \* how the hook went, until the machine has heard it
   ses |-> "none",      \* "in": has a supervisor; "gone": its supervisor is silent or gone
   want |-> "none",     \* what takes effect when the hook has returned
   tried |-> FALSE,     \* a seal was tried
   kept |-> TRUE,       \* has not freed the lock in this handoff
   left |-> 0,          \* the successor of a handoff that it has left by itself
   may |-> FALSE,       \* was told Commit, or has lost its supervisor when it was ready
   fin |-> "no"]        \* Final: "awaits", "told"

\* `s`, `d`: the supervisor's and the daemon's end are open; `sd`, `ds`: frames on their way to the daemon, to the supervisor.
Fresh == [s |-> FALSE, d |-> FALSE, sd |-> <<>>, ds |-> <<>>,
          cut |-> FALSE, lastS |-> M("none"), lastD |-> M("none"), lostS |-> FALSE, lostD |-> FALSE]
Open(l) == l.s /\ l.d /\ ~l.cut

NoS(st, up, life, run) ==
  [st |-> st, up |-> up, life |-> life,
   run |-> run,                 \* the daemon that serves, as far as it is known
   inc |-> 0, suc |-> 0,
   ie |-> FALSE, se |-> FALSE,  \* the incumbent, the successor was seen to end
   bg |-> FALSE,                \* the successor may hold the lock (rule 12)
   hel |-> FALSE,               \* the Hello of the successor waits for the journal (rule 7)
   ak |-> FALSE,                \* the Hello of the successor was answered
   fl |-> FALSE,                \* the successor has said that it has failed
   ab |-> FALSE,                \* the successor was only asked to leave
   rt |-> FALSE,                \* Retire was sent
   last |-> FALSE,              \* it has killed what served, and had told the only other to leave
   nof |-> FALSE,               \* the journal would start another binary next: no Final
   jp |-> "none",               \* the note that is to be written
   v |-> "none"]                \* the verdict

Init ==
  /\ d = [i \in Ids |-> IF i = 1 THEN [Default("serving", "up") EXCEPT !.role = "inc", !.srv = TRUE, !.fresh = TRUE]
                        ELSE Default("none", "none")]
  /\ s = NoS("idle", TRUE, 1, 1)
  /\ lk = [i \in Ids |-> Fresh]
  /\ k = [lock |-> 1, gen |-> 1, hold |-> 1, for |-> 0, wr |-> TRUE, path |-> 1]
  /\ j = [run |-> 1, com |-> TRUE, inc |-> 0, suc |-> 0, ret |-> FALSE, was |-> 1]
  /\ f = [left |-> Faults, swaps |-> Swaps]

Fault(kind) == kind \in Kinds /\ f.left > 0 /\ f' = [f EXCEPT !.left = @ - 1]

-----------------------------------------------------------------------------
(* Daemons. A turn is computed as one value, so that a checker computes it once. *)

\* As soon as a daemon serves, it may acknowledge a write that no other has seen.
Set(i, x) ==
  IF x.srv /\ ~d[i].srv THEN [n \in Ids |-> IF n = i THEN x ELSE [d[n] EXCEPT !.fresh = FALSE]]
  ELSE [d EXCEPT ![i] = x]

Leave(x) == [Default("gone", "dying") EXCEPT !.role = x.role, !.old = x.old, !.new = x.new]
Unlock(i) == IF k.lock = i THEN [k EXCEPT !.lock = 0] ELSE k

\* What comes of a turn: the daemon's new state, what it says, and the kernel as it leaves it.
Res(x, out) == [x |-> x, out |-> out, k |-> k]
ResK(x, out, kernel) == [x |-> x, out |-> out, k |-> kernel]
Quits(i, x, out) == [x |-> Leave(x), out |-> out, k |-> Unlock(i)]
One(t) == <<M(t)>>

\* The link of a daemon after a turn in which it has read `read` frames.
Link(l, r, read) ==
  [l EXCEPT !.sd = IF r.x.pr # "up" THEN <<>> ELSE IF read = 1 THEN Tail(@) ELSE @,
            !.ds = IF Open(l) THEN @ \o r.out ELSE @,
            !.lastD = IF r.out = <<>> THEN @ ELSE r.out[Len(r.out)],
            !.d = @ /\ r.x.pr = "up"]

Turn(i, r, read) ==
  /\ d' = Set(i, r.x)
  /\ lk' = [lk EXCEPT ![i] = Link(lk[i], r, read)]
  /\ k' = r.k
  /\ UNCHANGED <<s, j>>

Hook(x, st, hk) == [x EXCEPT !.st = st, !.hk = hk, !.hr = "run", !.want = "none"]
Back(x) == [Hook(x, "resuming", "resume") EXCEPT !.left = x.new]
Served(x) == x.st \in {"serving", "serving-in-session"}
OrphanInc(x) == x.st = "locking-as-orphan" /\ x.role = "inc"

OnHelloAck(x, n) ==
  CASE x.st = "await-ack" -> [Hook(x, "warming", "warm-up") EXCEPT !.old = n]
    [] x.st = "serving" -> [x EXCEPT !.st = "serving-in-session"]
    [] OTHER -> x

OnPrepare(x, n) ==
  IF Served(x) /\ x.left = n THEN Res(x, One("Resumed"))
  ELSE IF Served(x)
  THEN Res([Hook(x, "draining", "drain") EXCEPT !.srv = FALSE, !.new = n, !.tried = FALSE, !.kept = TRUE], <<>>)
  ELSE Res(x, IF x.st = "drained" THEN One("Drained") ELSE <<>>)

OnSealRequest(x) ==
  CASE x.st = "drained" -> Res([Hook(x, "sealing", "seal") EXCEPT !.tried = TRUE], <<>>)
    [] x.st = "sealed" -> Res(x, One("SealComplete"))
    [] Served(x) -> Res(x, One("Resumed"))
    [] OTHER -> Res(x, <<>>)

OnResume(x) ==
  CASE x.st = "drained" -> Res(Back(x), <<>>)
    [] x.st \in {"draining", "sealing", "noting-seal"} -> Res([x EXCEPT !.want = "resume"], <<>>)
    [] x.st = "sealed" ->
         Res(IF Flaw = "resume-without-lock" THEN Back(x) ELSE [x EXCEPT !.st = "locking-to-resume"], <<>>)
    [] Served(x) -> Res(x, One("Resumed"))
    [] OTHER -> Res(x, <<>>)

OnRetire(x) ==
  CASE x.st \in {"sealed", "locking-to-resume"} -> Res([x EXCEPT !.st = "locking-to-retire"], <<>>)
    [] Served(x) -> Res(x, One("Resumed"))
    [] OTHER -> Res(x, <<>>)

OnBegin(x) ==
  CASE x.st = "warming" -> Res([x EXCEPT !.want = "begin"], <<>>)
    [] x.st = "warmed" -> Res([x EXCEPT !.st = "locking"], <<>>)
    [] x.st = "ready" -> Res(x, One("Ready"))
    [] OTHER -> Res(x, <<>>)

OnCommit(x) ==
  CASE x.st = "ready" -> Res([x EXCEPT !.st = "taking-path", !.may = TRUE], <<>>)
    [] Served(x) /\ x.fin = "awaits" -> Res(x, One("Serving"))
    [] OTHER -> Res(x, <<>>)

OnAbort(x) ==
  CASE x.role = "suc" /\ x.st \in {"await-ack", "warmed", "locking"} -> Res(Leave(x), <<>>)
    [] x.role = "suc" /\ x.st \in {"warming", "claiming", "opening"} -> Res([x EXCEPT !.want = "abort"], <<>>)
    [] OTHER -> Res(x, <<>>)

\* What a frame does to a daemon (sections 7 and 8).
React(x, m) ==
  CASE m.t = "HelloAck" -> Res(OnHelloAck(x, m.n), <<>>)
    [] m.t = "PrepareHandoff" -> OnPrepare(x, m.n)
    [] m.t = "SealRequest" -> OnSealRequest(x)
    [] m.t = "ResumeAfterAbort" -> OnResume(x)
    [] m.t = "Retire" -> OnRetire(x)
    [] m.t = "Begin" -> OnBegin(x)
    [] m.t = "Commit" -> OnCommit(x)
    [] m.t = "Abort" -> OnAbort(x)
    [] m.t = "Final" -> Res([x EXCEPT !.fin = IF @ = "awaits" THEN "told" ELSE @], <<>>)
    [] OTHER -> Res(x, <<>>)

\* A supervisor that says something is heard again: attempts that have not begun stop (rule 15).
Hears(x) == [x EXCEPT !.ses = "in", !.st = IF @ # "locking-as-orphan" THEN @ ELSE IF x.role = "inc" THEN "sealed" ELSE "warmed"]

DRecv(i) ==
  /\ lk[i].d /\ lk[i].sd # <<>> /\ d[i].st \notin {"born", "begun"}
  /\ \E r \in {React(Hears(d[i]), Head(lk[i].sd))} : Turn(i, r, 1)
  /\ UNCHANGED f

DBegins(i) ==
  /\ d[i].st = "born"
  /\ \E r \in {Res([d[i] EXCEPT !.st = "begun"], <<>>)} : Turn(i, r, 0)
  /\ UNCHANGED f

\* A Hello with another pid or version than the expected is one with the number 1 (rule 21).
DStarts(i, ok) ==
  /\ d[i].st = "begun"
  /\ IF ok THEN UNCHANGED f ELSE Fault("hook")
  /\ \E r \in {Res([d[i] EXCEPT !.st = "await-ack"], <<MN("Hello", IF ok THEN 0 ELSE 1)>>)} : Turn(i, r, 0)

\* A hook comes to its end: well ("ok"), with an error ("bad"), or with a result that is not fit ("odd"): a drain after which
\* the daemon still accepts, an open that the gate refuses. A hook past its limit ends its process (rule 16): that is a crash.
Ran(i, x, how) ==
  LET ok == how = "ok" IN
  [x EXCEPT !.hr = how,
            !.srv = @ \/ (ok /\ x.hk \in {"serve", "resume"}),
            !.fresh = IF ok /\ (x.hk = "open" \/ (x.hk = "resume" /\ x.tried /\ Flaw # "resume-from-memory"))
                      THEN \A n \in Ids \ {i} : ~d[n].srv ELSE @]

DHookRun(i, how) ==
  /\ d[i].hr = "run" /\ (how = "odd" => d[i].hk \in {"drain", "open"})
  /\ IF how = "ok" THEN UNCHANGED f ELSE Fault("hook")
  /\ \E r \in {Res(Ran(i, d[i], how), <<>>)} : Turn(i, r, 0)

Orphan(x) == x.ses = "gone"
\* A process without a predecessor takes the loss of its supervisor for an Abort.
GivesUp(x) == x.want = "abort" \/ (Orphan(x) /\ x.old = 0)
Serves(i) == IF lk[i].d THEN "serving-in-session" ELSE "serving"

\* What follows from the result of a hook; `y` is the daemon without the hook.
AfterHook(i, x, y, how) ==
  LET ok == how = "ok" IN
  CASE x.hk = "warm-up" ->
         IF ~ok THEN Quits(i, x, One("Failed"))
         ELSE IF GivesUp(x) THEN Quits(i, x, <<>>)
         ELSE Res([y EXCEPT !.st = IF x.want = "begin" THEN "locking" ELSE "warmed"], One("Warmed"))
    [] x.hk = "drain" ->
         IF how = "bad" THEN Res(Back(y), One("DrainFailed"))
         ELSE IF x.want = "resume" \/ Orphan(x) THEN Res(Back(y), <<>>)
         ELSE Res([y EXCEPT !.st = "drained"], <<MN("Drained", IF ok THEN 0 ELSE 1)>>)
    [] x.hk = "seal" ->
         IF ok THEN Res([y EXCEPT !.st = "noting-seal", !.want = x.want], <<>>)
         ELSE Res([y EXCEPT !.st = "claiming"], One("SealFailed"))
    [] x.hk = "open" ->
         IF ~ok THEN Quits(i, x, One("Failed"))
         ELSE IF GivesUp(x) THEN Quits(i, x, <<>>)
         ELSE IF Flaw = "serve-before-commit" THEN Res([y EXCEPT !.st = "taking-path"], <<>>)
         ELSE Res([y EXCEPT !.st = "ready"], One("Ready"))
    [] x.hk = "resume" -> IF ok THEN Res([y EXCEPT !.st = "taking-path"], <<>>) ELSE Quits(i, x, <<>>)
    [] OTHER ->
         IF ok THEN Res([y EXCEPT !.st = Serves(i), !.role = "inc", !.fin = "awaits"], One("Serving"))
         ELSE Quits(i, x, One("Failed"))

DHook(i) ==
  /\ d[i].hr \in {"ok", "bad", "odd"}
  /\ \E r \in {AfterHook(i, d[i], [d[i] EXCEPT !.hk = "none", !.hr = "none", !.want = "none"], d[i].hr)} : Turn(i, r, 0)
  /\ UNCHANGED f

Locking(x) == x.st \in {"locking", "locking-as-orphan", "locking-to-resume", "locking-to-retire"}

\* Section 4: may the process that has got the lock keep it?
Claim(i, x) ==
  \/ k.gen = 0
  \/ IF x.role = "inc" THEN k.hold = i \/ (k.hold = x.new /\ k.for = 0)
     ELSE IF x.old # 0 THEN k.hold = x.old /\ k.for \in {0, i}
     ELSE k.gen = x.gen

FailedIfNew(x) == IF x.role = "suc" THEN One("Failed") ELSE <<>>

DLockHeld(i) ==
  /\ Locking(d[i]) /\ k.lock = 0
  /\ \E r \in {IF Claim(i, d[i]) THEN ResK([d[i] EXCEPT !.st = "claiming", !.kept = FALSE], <<>>, [k EXCEPT !.lock = i])
               ELSE Res(Leave(d[i]), FailedIfNew(d[i]))} : Turn(i, r, 0)
  /\ UNCHANGED f

\* A busy lock that makes a process leave. All other attempts are made again, and change nothing. A successor gives up
\* after its time; the holder is alive then.
LeavesBusy(i, x) ==
  \/ x.st = "locking-to-retire"
  \/ OrphanInc(x) /\ k.wr /\ k.hold # i
  \/ x.role = "suc" /\ d[k.lock].srv

DLockBusy(i) ==
  /\ Locking(d[i]) /\ k.lock # 0
  /\ LeavesBusy(i, d[i])
  /\ \E r \in {Res(Leave(d[i]), FailedIfNew(d[i]))} : Turn(i, r, 0)
  /\ UNCHANGED f

Record(i, gen, for, wr) == [k EXCEPT !.gen = gen, !.hold = i, !.for = for, !.wr = wr]

NotesSeal(i, x, ok) ==
  IF ~ok THEN Res([x EXCEPT !.st = "claiming"], One("SealFailed"))
  ELSE ResK([x EXCEPT !.st = IF x.want = "resume" THEN "locking-to-resume"
                             ELSE IF Orphan(x) THEN "locking-as-orphan" ELSE "sealed", !.want = "none"],
            One("SealComplete"),
            IF Flaw = "unlock-before-record" THEN [k EXCEPT !.lock = 0]
            ELSE [Record(i, k.gen, x.new, FALSE) EXCEPT !.lock = 0])

NotesClaim(i, x, ok) ==
  IF ~ok THEN Quits(i, x, FailedIfNew(x))
  ELSE ResK(IF x.role = "inc" THEN Back(x) ELSE [Hook(x, "opening", "open") EXCEPT !.want = x.want], <<>>,
            Record(i, IF x.role = "inc" /\ x.kept THEN k.gen ELSE k.gen + 1, 0, FALSE))

NotesServing(i, x, ok) ==
  ResK(IF x.role = "suc" THEN Hook(x, "starting", "serve") ELSE [x EXCEPT !.st = Serves(i), !.want = "none"],
       IF x.role = "suc" THEN <<>> ELSE One("Resumed"),
       IF ok THEN Record(i, k.gen, 0, TRUE) ELSE k)

DRecord(i, ok) ==
  /\ d[i].st \in {"noting-seal", "claiming", "noting-serving"}
  /\ IF ok THEN UNCHANGED f ELSE Fault("disk")
  /\ \E r \in {CASE d[i].st = "noting-seal" -> NotesSeal(i, d[i], ok)
                 [] d[i].st = "claiming" -> NotesClaim(i, d[i], ok)
                 [] OTHER -> NotesServing(i, d[i], ok)} : Turn(i, r, 0)

DPath(i) ==
  /\ d[i].st = "taking-path"
  /\ \E r \in {ResK([d[i] EXCEPT !.st = "noting-serving"], <<>>, [k EXCEPT !.path = i])} : Turn(i, r, 0)
  /\ UNCHANGED f

\* The supervisor's silence or end, as a daemon takes it (rule 15).
Alone(i, x, y) ==
  CASE x.role = "suc" ->
         CASE x.st = "await-ack" -> Quits(i, x, <<>>)
           [] x.st \in {"warmed", "locking", "locking-as-orphan"} ->
                IF x.old = 0 THEN Quits(i, x, <<>>) ELSE Res([y EXCEPT !.st = "locking-as-orphan"], <<>>)
           [] x.st = "ready" -> IF x.old = 0 THEN Quits(i, x, <<>>) ELSE Res([y EXCEPT !.st = "taking-path", !.may = TRUE], <<>>)
           [] OTHER -> Res(y, <<>>)
    [] OTHER ->
         CASE x.st = "serving-in-session" -> Res([y EXCEPT !.st = "serving"], <<>>)
           [] x.st = "drained" -> Res(Back(y), <<>>)
           [] x.st = "sealed" -> Res(IF Flaw = "sealed-waits" THEN y ELSE [y EXCEPT !.st = "locking-as-orphan"], <<>>)
           [] OTHER -> Res(y, <<>>)

DClosed(i) ==
  /\ lk[i].d /\ ~Open(lk[i]) /\ lk[i].sd = <<>> /\ d[i].st \notin {"born", "begun"}
  /\ \E r \in {Alone(i, d[i], [d[i] EXCEPT !.ses = "gone"])} :
       /\ d' = Set(i, r.x)
       /\ lk' = [lk EXCEPT ![i].d = FALSE, ![i].ds = IF lk[i].s THEN @ ELSE <<>>, ![i].lostS = FALSE]
       /\ k' = r.k
  /\ UNCHANGED <<s, j, f>>

DSilent(i) ==
  /\ lk[i].d /\ lk[i].sd = <<>> /\ (d[i].ses = "in" \/ d[i].st = "serving-in-session")
  /\ Fault("timer")
  /\ \E r \in {Alone(i, d[i], [d[i] EXCEPT !.ses = "gone"])} : Turn(i, r, 0)

\* An orphan whose hook has returned meanwhile goes on by itself.
DGoesOn(i) ==
  /\ d[i].role = "suc" /\ Orphan(d[i]) /\ d[i].st \in {"ready", "warmed"}
  /\ \E r \in {Res([d[i] EXCEPT !.st = IF @ = "ready" THEN "taking-path" ELSE "locking-as-orphan", !.may = @ \/ d[i].st = "ready"], <<>>)} : Turn(i, r, 0)
  /\ UNCHANGED f

-----------------------------------------------------------------------------
(* What happens to daemons. *)

\* A crash, at any time; what it has sent last arrives or not.
DCrash(i, keep) ==
  /\ (keep \/ lk[i].ds # <<>>)
  /\ Fault("crash")
  /\ d' = Set(i, Leave(d[i]))
  /\ lk' = [lk EXCEPT ![i].d = FALSE, ![i].sd = <<>>, ![i].ds = IF keep THEN @ ELSE <<>>]
  /\ UNCHANGED <<s, k, j>>

\* The kernel has taken a process apart: its lock is free now, perhaps long after its links have closed.
DEnds(i) ==
  /\ d[i].pr = "dying"
  /\ d' = [d EXCEPT ![i].pr = "ended"]
  /\ k' = Unlock(i)
  /\ UNCHANGED <<s, lk, j, f>>

-----------------------------------------------------------------------------
(* The supervisor. What comes of a turn: its new state, what it says to each daemon, and which daemons it kills. *)

None == [n \in Ids |-> <<>>]
To(i, t) == [None EXCEPT ![i] = One(t)]
R(x, out) == [x |-> x, out |-> out, kill |-> {}]
RK(x, kill) == [x |-> x, out |-> None, kill |-> kill]

SLink(l, out, read, shut, dead) ==
  [l EXCEPT !.ds = IF shut THEN <<>> ELSE IF read THEN Tail(@) ELSE @,
            !.sd = IF dead THEN <<>> ELSE IF Open(l) THEN @ \o out ELSE @,
            !.lastS = IF out = <<>> THEN @ ELSE out[Len(out)],
            !.s = @ /\ ~shut,
            !.d = @ /\ ~dead]

\* A turn that kills a process which serves, while the incumbent has been told to leave or has ended (rule 9).
KillsLast(r) == \E n \in r.kill : d[n].pr = "up" /\ d[n].srv /\ (r.x.rt \/ \A m \in Ids \ {n} : d[m].pr # "up")

\* `read` is the daemon of which a frame was read, or 0; the supervisor closes its ends of the links of `shut`.
STurn(r, read, shut) ==
  /\ s' = IF r.kill # {} /\ KillsLast(r) THEN [r.x EXCEPT !.last = TRUE] ELSE r.x
  /\ d' = IF r.kill = {} THEN d
          ELSE [n \in Ids |-> IF n \in r.kill /\ d[n].pr = "up" THEN Leave(d[n]) ELSE d[n]]
  /\ lk' = [n \in Ids |-> SLink(lk[n], r.out[n], n = read, n \in shut, n \in r.kill)]
  /\ UNCHANGED k

At(x, st) == [x EXCEPT !.st = st]
Noted(x, v) == [x EXCEPT !.st = "await-noted", !.jp = "Over", !.v = v]
Told(x, v) == [x EXCEPT !.st = "done", !.v = v]
NoInc(x) == x.inc = 0 \/ x.ie
NoSuc(x) == x.suc = 0 \/ x.se
Resumes(x) == R(At(x, "await-resumed"), To(x.inc, "ResumeAfterAbort"))

\* Rules 11 and 12: the way back, from wherever the handoff is.
Roll(x) ==
  IF NoInc(x) THEN IF NoSuc(x) THEN R(Noted(x, "NobodyServes"), None)
                   ELSE RK([At(x, "await-successor-end") EXCEPT !.v = "NobodyServes"], {x.suc})
  ELSE IF NoSuc(x) \/ ~x.bg THEN
    IF Flaw = "rolled-back-unasked" THEN R(Noted(x, "RolledBack"), To(x.inc, "ResumeAfterAbort")) ELSE Resumes(x)
  ELSE RK(At(x, "await-successor-end-to-resume"), {x.suc})

Ack(x) == MN("HelloAck", x.inc)
Begins(x) == R([At(x, "await-ready") EXCEPT !.bg = TRUE], To(x.suc, "Begin"))

\* The successor's Hello is answered; if the incumbent has ended early, Begin follows at once.
Answers(x) ==
  IF x.ie /\ x.st = "await-ready" /\ ~x.bg
  THEN R([x EXCEPT !.hel = FALSE, !.ak = TRUE, !.bg = TRUE], [None EXCEPT ![x.suc] = <<Ack(x), M("Begin")>>])
  ELSE R([x EXCEPT !.hel = FALSE, !.ak = TRUE], [None EXCEPT ![x.suc] = <<Ack(x)>>])

Late == {"await-warmed", "await-drained", "await-sealed", "await-ready", "await-resumed", "await-incumbent-end"}
Counts(x) == x.st \in Late \/ (x.st = "await-successor-end" /\ x.ab)
Handing == {"await-warmed", "await-drained", "await-sealed", "await-ready", "await-serving"}

FromSuccessor(x, t, n) ==
  CASE t = "Hello" /\ n = 1 -> IF x.st \in Handing THEN Roll(x) ELSE R(x, None)
    [] t = "Hello" -> IF x.jp = "UnderWay" THEN R([x EXCEPT !.hel = TRUE], None) ELSE Answers(x)
    [] t = "Warmed" /\ x.st = "await-warmed" ->
         IF NoInc(x) THEN Begins(x)
         ELSE R(At(x, "await-drained"), [None EXCEPT ![x.inc] = <<MN("PrepareHandoff", x.suc)>>])
    [] t = "Ready" /\ Counts(x) -> R([At(x, "await-serving") EXCEPT !.bg = TRUE], To(x.suc, "Commit"))
    [] t = "Serving" /\ (Counts(x) \/ x.st = "await-serving") ->
         R([At(x, "await-committed") EXCEPT !.bg = TRUE, !.jp = "Committed"], None)
    [] t = "Failed" /\ x.st \in Handing -> Roll([x EXCEPT !.fl = TRUE])
    [] t = "Failed" -> R([x EXCEPT !.fl = TRUE], None)
    [] OTHER -> R(x, None)

\* A successor that has never been answered can't be asked to leave. Where none was started, nothing is to be noted.
OnResumed(x) ==
  IF x.suc = 0 THEN R(Told(x, "RolledBack"), None)
  ELSE IF NoSuc(x) THEN R(Noted(x, "RolledBack"), None)
  ELSE IF Open(lk[x.suc]) /\ x.ak /\ ~x.bg
  THEN R([At(x, "await-successor-end") EXCEPT !.v = "RolledBack", !.ab = TRUE], To(x.suc, "Abort"))
  ELSE RK([At(x, "await-successor-end") EXCEPT !.v = "RolledBack"], {x.suc})

\* A link that was reopened: the command that counts now is repeated.
Again(x) ==
  R(x, [None EXCEPT ![x.inc] = <<M("HelloAck")>> \o CASE x.st = "await-resumed" -> One("ResumeAfterAbort")
                                                      [] x.st = "await-retired" -> One("Retire")
                                                      [] OTHER -> <<>>])

FromIncumbent(x, t, n) ==
  CASE t = "Hello" -> IF x.st = "await-incumbent" THEN R(At(x, "await-spawn"), To(x.inc, "HelloAck")) ELSE Again(x)
    [] t = "Drained" /\ x.st = "await-drained" /\ n = 1 -> Roll(x)
    [] t = "Drained" /\ x.st = "await-drained" -> R(At(x, "await-sealed"), To(x.inc, "SealRequest"))
    [] t = "DrainFailed" /\ x.st = "await-drained" -> Roll(x)
    [] t = "SealComplete" /\ x.st = "await-sealed" -> Begins(x)
    [] t = "SealFailed" /\ x.st = "await-sealed" -> Roll(x)
    [] t = "Resumed" /\ x.st \in {"await-drained", "await-sealed", "await-ready", "await-resumed"} -> OnResumed(x)
    [] t = "Resumed" /\ x.st = "await-retired" /\ x.se -> R(Noted(x, "FellBack"), None)
    [] OTHER -> R(x, None)

SReact(x, i, m) ==
  CASE i = x.suc -> FromSuccessor(x, m.t, m.n) [] i = x.inc -> FromIncumbent(x, m.t, m.n) [] OTHER -> R(x, None)

\* The supervisor's turns do not begin while it waits for the disk, but a successor is heard before its note is written.
Attends == s.up /\ s.jp \in {"none", "UnderWay"} /\ s.st # "done"

SRecv(i) ==
  /\ lk[i].s /\ lk[i].ds # <<>>
  /\ \E r \in {SReact(s, i, Head(lk[i].ds))} : STurn(r, i, {})
  /\ UNCHANGED <<j, f>>

Unborn == {i \in Ids : d[i].st = "none"}

SAsked ==
  /\ s.up /\ s.st = "idle" /\ s.run # 0 /\ f.swaps > 0 /\ d[s.run].pr = "up" /\ Unborn # {}
  /\ s' = [At(s, "await-incumbent") EXCEPT !.inc = s.run]
  /\ f' = [f EXCEPT !.swaps = @ - 1]
  /\ UNCHANGED <<d, lk, k, j>>

\* A daemon takes every link, and says Hello.
Linked == [Fresh EXCEPT !.s = TRUE, !.d = TRUE]
Accepts(i) ==
  /\ ~lk[i].s /\ ~lk[i].d /\ d[i].st \notin {"born", "begun"}
  /\ lk' = [lk EXCEPT ![i] = [Linked EXCEPT !.ds = One("Hello"), !.lastD = M("Hello")]]
  /\ UNCHANGED <<d, s, k, j, f>>

Connects(i) ==
  /\ \/ i = s.inc /\ s.st \in {"await-incumbent", "await-resumed", "await-retired"} /\ ~s.ie
     \/ i = s.run /\ s.st = "await-final"
  /\ Accepts(i)

Next1 == CHOOSE n \in Unborn : \A o \in Unborn : n <= o

SSpawns ==
  /\ s.up /\ s.st \in {"await-spawn", "cold"} /\ Unborn # {}
  /\ \E i \in {Next1} :
     /\ s' = [At(s, "await-warmed") EXCEPT !.suc = i, !.jp = "UnderWay"]
     /\ d' = [d EXCEPT ![i] = [Default("born", "up") EXCEPT !.old = s.inc, !.gen = IF s.inc = 0 THEN k.gen ELSE 0]]
     /\ lk' = [lk EXCEPT ![i] = Linked]
  /\ UNCHANGED <<k, j, f>>

SSpawnFails ==
  /\ s.up /\ s.st = "await-spawn" /\ Fault("disk")
  /\ \E r \in {Roll(s)} : STurn(r, 0, {})
  /\ UNCHANGED j

\* `Committed` is journalled, or can't be: Retire, or what is left to do without an incumbent.
Onward(x) ==
  IF ~NoInc(x) THEN R([At(x, "await-retired") EXCEPT !.rt = TRUE],
                      [To(x.inc, "Retire") EXCEPT ![x.suc] = IF Flaw = "final-early" THEN One("Final") ELSE <<>>])
  ELSE IF x.se THEN R(Noted(x, "NobodyServes"), None)
  ELSE R(Told(x, "Committed"), IF x.nof THEN None ELSE To(x.suc, "Final"))

Cleared == [j EXCEPT !.inc = 0, !.suc = 0, !.ret = FALSE]
Over(v) ==
  CASE v = "FellBack" -> [Cleared EXCEPT !.run = j.was]
    [] v = "NobodyServes" -> [Cleared EXCEPT !.run = 0]
    [] OTHER -> Cleared

\* What the journal says afterwards (section 5).
Note ==
  CASE s.jp = "UnderWay" -> [j EXCEPT !.inc = s.inc, !.suc = s.suc, !.ret = FALSE, !.was = j.run]
    [] s.jp = "Committed" -> [j EXCEPT !.run = s.suc, !.com = TRUE, !.ret = TRUE]
    [] s.jp = "Over" -> Over(s.v)
    [] OTHER -> [Cleared EXCEPT !.run = s.run]

\* What the supervisor does when the journal is written, or can't be (rule 7).
Written(x, note, ok) ==
  CASE note = "UnderWay" ->
         IF ok \/ NoInc(x) THEN IF x.hel THEN Answers(x) ELSE R(x, None)
         ELSE IF x.st = "await-warmed" THEN Roll(x) ELSE R(x, None)
    [] note = "Committed" -> Onward([x EXCEPT !.nof = ~ok])
    [] note = "Over" -> R(Told(x, x.v), None)
    [] OTHER -> IF x.run = 0 THEN R(Told(x, "Nobody"), None)
                ELSE IF ok /\ d[x.run].fin = "awaits" THEN R(At(x, "await-final"), None)
                ELSE R(Told(x, "Serves"), None)

SJournal(ok) ==
  /\ s.up /\ s.jp # "none"
  /\ IF ok THEN UNCHANGED f ELSE Fault("disk")
  /\ j' = IF ok THEN Note ELSE j
  /\ \E r \in {Written([s EXCEPT !.jp = "none"], s.jp, ok)} : STurn(r, 0, {})

\* The end of a process (section 6).
SuccessorEnded(y) ==
  CASE y.st \in Handing -> Roll(y)
    [] y.st = "await-successor-end-to-resume" -> IF NoInc(y) THEN R(Noted(y, "NobodyServes"), None) ELSE Resumes(y)
    [] y.st = "await-successor-end" -> R(Noted(y, y.v), None)
    [] y.st = "await-retired" /\ y.ie -> R(Noted(y, "NobodyServes"), None)
    [] OTHER -> R(y, None)

IncumbentEnded(y) ==
  CASE y.st = "await-incumbent" -> R(At(y, "await-spawn"), None)
    [] y.st \in {"await-warmed", "await-drained", "await-sealed", "await-resumed", "await-incumbent-end"} ->
         IF NoSuc(y) THEN R(Noted(y, "NobodyServes"), None)
         ELSE IF y.ak THEN Begins(y)
         ELSE IF y.hel /\ y.jp = "none" THEN Answers(At(y, "await-ready"))
         ELSE R(At(y, "await-ready"), None)
    [] y.st = "await-retired" ->
         IF y.se THEN R(Noted(y, "NobodyServes"), None)
         ELSE R(Told(y, "Committed"), IF y.nof THEN None ELSE To(y.suc, "Final"))
    [] OTHER -> R(y, None)

SEnded(i) ==
  /\ d[i].pr = "ended"
  /\ \/ i = s.suc /\ ~s.se /\ \E r \in {SuccessorEnded([s EXCEPT !.se = TRUE, !.hel = FALSE])} : STurn(r, 0, {i})
     \/ i = s.inc /\ ~s.ie /\ \E r \in {IncumbentEnded([s EXCEPT !.ie = TRUE])} : STurn(r, 0, {i})
  /\ UNCHANGED <<j, f>>

\* A link that has closed before its process was seen to end (rules 12 and 18).
LinkClosed(x, i) ==
  CASE i = x.suc /\ x.st \in Handing -> Roll([x EXCEPT !.bg = TRUE])
    [] i = x.suc -> R([x EXCEPT !.bg = @ \/ x.ak], None)
    [] i = x.inc /\ x.st = "await-incumbent" -> R(Told(x, "Unreachable"), None)
    [] i = x.inc /\ x.st \in {"await-warmed", "await-drained", "await-sealed"} -> Roll(x)
    [] OTHER -> R(x, None)

SClosed(i) ==
  /\ lk[i].s /\ ~Open(lk[i]) /\ lk[i].ds = <<>> /\ s.st # "await-spawn"
  /\ \E r \in {LinkClosed(s, i)} : STurn(r, 0, {i})
  /\ UNCHANGED <<j, f>>

Heard == \A i \in Ids : lk[i].s => lk[i].ds = <<>>

\* No process listens at the control path any more.
SRefused ==
  /\ s.up /\ s.st = "await-incumbent" /\ ~lk[s.inc].s /\ d[s.inc].pr # "up"
  /\ \E r \in {R(Told(s, "Unreachable"), None)} : STurn(r, 0, {})
  /\ UNCHANGED <<j, f>>

\* A successor that can still take over: it lives, was answered, and has not failed.
Usable(x) == ~NoSuc(x) /\ x.ak /\ ~x.fl

\* A timer: silence, the deadline, patience; or a cancel. All that has come is handled before (rule 8).
Expired(x) ==
  CASE x.st = "await-incumbent" -> {R(Told(x, "Unreachable"), None)}
    [] x.st \in {"await-any", "await-others"} -> {R(Told(x, "Cancelled"), None)}
    [] x.st \in {"await-warmed", "await-drained", "await-sealed", "await-ready"} /\ ~x.ie -> {Roll(x)}
    [] x.st = "await-serving" /\ ~x.ie -> {Roll(x)}
    [] x.st = "await-resumed" /\ ~x.ie /\ Usable(x) /\ ~x.bg -> {RK(At(x, "await-incumbent-end"), {x.inc})}
    [] x.st = "await-retired" /\ ~x.ie /\ d[x.suc].pr = "up" ->
         {RK(x, {IF Flaw = "kill-after-retire" THEN x.suc ELSE x.inc})}
    [] OTHER -> {}

STimer ==
  /\ s.up /\ s.jp = "none" /\ Heard /\ Fault("timer")
  /\ \E r \in Expired(s) : STurn(r, 0, {})
  /\ UNCHANGED j

\* `Abort` was not enough, or was lost.
SPatience ==
  /\ s.up /\ s.st = "await-successor-end" /\ s.ab /\ d[s.suc].pr = "up" /\ Heard
  /\ \E r \in {RK([s EXCEPT !.ab = FALSE], {s.suc})} : STurn(r, 0, {})
  /\ UNCHANGED <<j, f>>

\* The outcome has been told; the links of the handoff are closed. Most other outcomes are followed by
\* a recovery, and a recovery that finds no process by a cold start.
After(x) ==
  CASE x.v = "Committed" /\ ~x.nof -> NoS("idle", TRUE, x.life, x.suc)
    [] x.v = "RolledBack" -> NoS("idle", TRUE, x.life, x.inc)
    [] x.v = "Serves" -> NoS("idle", TRUE, x.life, x.run)
    [] x.v = "Nobody" -> NoS("cold", TRUE, x.life, 0)
    [] OTHER -> NoS("await-any", TRUE, x.life, 0)

SDone ==
  /\ s.up /\ s.st = "done"
  /\ \E r \in {R(After(s), None)} : STurn(r, 0, Ids)
  /\ UNCHANGED <<j, f>>

\* What it has sent to the daemons of `lost` last does not arrive.
SCrash(lost) ==
  /\ s.up /\ Fault("crash")
  /\ s' = NoS("down", FALSE, s.life, 0)
  /\ lk' = [i \in Ids |-> [lk[i] EXCEPT !.s = FALSE, !.ds = <<>>, !.sd = IF i \in lost THEN <<>> ELSE @]]
  /\ UNCHANGED <<d, k, j>>

SStarts ==
  /\ ~s.up /\ s.life < Lives
  /\ s' = NoS("await-any", TRUE, s.life + 1, 0)
  /\ UNCHANGED <<d, lk, k, j, f>>

\* The incumbent has ended outside of a handoff.
SLost ==
  /\ s.up /\ s.st = "idle" /\ s.run # 0 /\ d[s.run].pr = "ended"
  /\ s' = NoS("await-any", TRUE, s.life, 0)
  /\ UNCHANGED <<d, lk, k, j, f>>

-----------------------------------------------------------------------------
(* The recovery (section 9). That a candidate is asked and answers is one step. *)

Up(i) == d[i].pr = "up"
Begun(i) == Up(i) /\ d[i].st \notin {"born", "begun"}
Named == {j.run, j.inc, j.suc} \ {0}
Candidates == {i \in Ids : Begun(i) \/ (i \in Named /\ d[i].pr \in {"up", "dying"})}

\* A successor in the way that is not the predecessor of what serves is killed at once.
\* What was sent by the supervisor before is read before the question: the old link has been seen to close.
RFound(i) ==
  /\ s.up /\ s.st = "await-any" /\ s.jp = "none" /\ d[i].srv /\ (lk[i].d => lk[i].s)
  /\ \E r \in {RK([At(s, "await-others") EXCEPT !.run = i], {j.suc} \ {0, i, d[i].old})} : STurn(r, 0, {})
  /\ UNCHANGED <<j, f>>

\* Others that are named get time to leave, and are killed then.
RKills(i) ==
  /\ s.up /\ s.st = "await-others" /\ i # s.run /\ i \in Named /\ Up(i)
  /\ \E r \in {RK(s, {i})} : STurn(r, 0, {})
  /\ UNCHANGED <<j, f>>

RNote ==
  /\ s.up /\ s.st = "await-others" /\ s.jp = "none"
  /\ Up(s.run) /\ Candidates \subseteq {s.run}
  /\ s' = [s EXCEPT !.jp = "Recovered"]
  /\ UNCHANGED <<d, lk, k, j, f>>

\* What served has ended meanwhile.
RAgain ==
  /\ s.up /\ s.st \in {"await-others", "await-final"} /\ s.jp = "none" /\ d[s.run].pr = "ended"
  /\ s' = NoS("await-any", TRUE, s.life, 0)
  /\ lk' = [lk EXCEPT ![s.run].s = FALSE, ![s.run].ds = <<>>]
  /\ UNCHANGED <<d, k, j, f>>

\* `Final` is answered for before the verdict.
RFinal ==
  /\ s.up /\ s.st = "await-final" /\ s.jp = "none" /\ Up(s.run)
  /\ IF d[s.run].fin = "told" THEN \E r \in {R(Told(s, "Serves"), None)} : STurn(r, 0, {})
     ELSE /\ Open(lk[s.run]) /\ lk[s.run].sd = <<>> /\ lk[s.run].ds = <<>>
          /\ \E r \in {R(s, To(s.run, "Final"))} : STurn(r, 0, {})
  /\ UNCHANGED <<j, f>>

RNobody ==
  /\ s.up /\ s.st = "await-any" /\ s.jp = "none"
  /\ IF Flaw = "cold-start-early" THEN \A i \in Candidates : ~d[i].srv ELSE Candidates = {}
  /\ s' = [s EXCEPT !.jp = "Recovered", !.run = 0]
  /\ UNCHANGED <<d, lk, k, j, f>>

-----------------------------------------------------------------------------
(* Faults of links, and what mends them (rule 17). *)

Lose(i) ==
  /\ Open(lk[i]) /\ Fault("loss")
  /\ \/ lk[i].ds # <<>> /\ lk' = [lk EXCEPT ![i].ds = Tail(@), ![i].lostD = TRUE]
     \/ lk[i].sd # <<>> /\ lk' = [lk EXCEPT ![i].sd = Tail(@), ![i].lostS = TRUE]
  /\ UNCHANGED <<d, s, k, j>>

BeatD(i) ==
  /\ Open(lk[i]) /\ lk[i].ds = <<>> /\ lk[i].lastD.t # "none"
  /\ lk' = [lk EXCEPT ![i].ds = <<lk[i].lastD>>, ![i].lostD = FALSE]
  /\ UNCHANGED <<d, s, k, j, f>>

BeatS(i) ==
  /\ Open(lk[i]) /\ lk[i].sd = <<>> /\ lk[i].lastS.t # "none"
  /\ lk' = [lk EXCEPT ![i].sd = <<lk[i].lastS>>, ![i].lostS = FALSE]
  /\ UNCHANGED <<d, s, k, j, f>>

\* A heartbeat counts when a frame was lost, and when what was heard before, and changed nothing then, changes something now.
Beats(i) ==
  /\ Flaw # "no-heartbeat" /\ Open(lk[i])
  /\ \/ /\ lk[i].ds = <<>> /\ lk[i].lastD.t # "none" /\ d[i].pr = "up"
        /\ lk[i].lostD \/ (Attends /\ SReact(s, i, lk[i].lastD).x # s)
        /\ BeatD(i)
     \/ /\ lk[i].sd = <<>> /\ lk[i].lastS.t # "none" /\ d[i].st \notin {"born", "begun"}
        /\ lk[i].lostS \/ React(Hears(d[i]), lk[i].lastS).x # d[i]
        /\ BeatS(i)

\* A reset of the link to the incumbent or the successor: each end sees it when it has read what has come until then.
Reset(i, keep) ==
  /\ Open(lk[i]) /\ Fault("reset")
  /\ (keep \/ lk[i].ds # <<>> \/ lk[i].sd # <<>>)
  /\ lk' = [lk EXCEPT ![i].cut = TRUE, ![i].sd = IF keep THEN @ ELSE <<>>, ![i].ds = IF keep THEN @ ELSE <<>>]
  /\ UNCHANGED <<d, s, k, j>>

-----------------------------------------------------------------------------
(* All steps. A condition before a step only repeats what the step needs itself: it spares the checker work. *)

Turns(i) ==
  \/ d[i].hr = "run" /\ DHookRun(i, "ok")
  \/ d[i].hr # "none" /\ DHook(i)
  \/ lk[i].sd # <<>> /\ DRecv(i)
  \/ Locking(d[i]) /\ (DLockHeld(i) \/ DLockBusy(i))
  \/ d[i].st \in {"noting-seal", "claiming", "noting-serving"} /\ DRecord(i, TRUE)
  \/ d[i].st = "taking-path" /\ DPath(i)
  \/ d[i].st = "born" /\ DBegins(i)
  \/ d[i].st = "begun" /\ DStarts(i, TRUE)
  \/ lk[i].d /\ ~Open(lk[i]) /\ DClosed(i)
  \/ d[i].ses = "gone" /\ DGoesOn(i)

DFaults(i) ==
  \/ d[i].st = "begun" /\ DStarts(i, FALSE)
  \/ d[i].hr = "run" /\ (DHookRun(i, "bad") \/ DHookRun(i, "odd"))
  \/ d[i].st \in {"noting-seal", "claiming", "noting-serving"} /\ DRecord(i, FALSE)
  \/ lk[i].d /\ DSilent(i)
  \/ "crash" \in Kinds /\ \E keep \in BOOLEAN : DCrash(i, keep)

LFaults(i) == Open(lk[i]) /\ (Lose(i) \/ \E keep \in BOOLEAN : Reset(i, keep))

Handles(i) ==
  \/ lk[i].s /\ lk[i].ds # <<>> /\ SRecv(i)
  \/ lk[i].s /\ lk[i].ds = <<>> /\ SClosed(i)
  \/ d[i].pr = "ended" /\ SEnded(i)

InHandoff ==
  \/ s.st \in {"await-spawn", "cold"} /\ SSpawns
  \/ s.st = "await-incumbent" /\ SRefused
  \/ s.st = "await-successor-end" /\ SPatience
  \/ s.st = "done" /\ SDone

InRecovery == s.st \in {"await-any", "await-others", "await-final"}
Recovers == RNote \/ RAgain \/ RFinal \/ RNobody \/ \E i \in Ids : Up(i) /\ (RFound(i) \/ RKills(i))

SFaults == STimer \/ SSpawnFails \/ SJournal(FALSE) \/ \E lost \in SUBSET {i \in Ids : lk[i].sd # <<>>} : SCrash(lost)

Supervises ==
  \/ Attends /\ \E i \in Ids : Handles(i)
  \/ \E i \in Ids : (i = s.inc \/ i = s.run) /\ Up(i) /\ Connects(i)
  \/ s.st = "idle" /\ (SAsked \/ SLost)
  \/ s.jp # "none" /\ SJournal(TRUE)
  \/ InHandoff
  \/ InRecovery /\ Recovers

Serving == {i \in Ids : Up(i) /\ d[i].srv}
Living == {i \in Ids : d[i].pr \in {"up", "dying"}}

\* Where nothing more needs to happen: one process serves, the control path leads to it, and no other is left. Without
\* a supervisor at most one process is left, and it serves; and there is an end to the daemons of a bounded model.
Good ==
  \/ /\ s.up /\ s.st = "idle" /\ s.jp = "none"
     /\ Living = {s.run} /\ d[s.run].srv /\ k.path = s.run /\ k.lock = s.run
  \/ ~s.up /\ Living = Serving
  \/ Unborn = {} /\ Living = {}

\* A deadlock is a state in which nothing can happen and which is not good.
Rest == Good /\ UNCHANGED vars

Next ==
  \/ \E i \in Ids : d[i].pr = "up" /\ Turns(i)
  \/ \E i \in Ids : d[i].pr = "dying" /\ DEnds(i)
  \/ s.up /\ \E i \in Ids : d[i].pr = "up" /\ Beats(i)
  \/ s.up /\ Supervises
  \/ ~s.up /\ SStarts
  \/ f.left > 0 /\ s.up /\ SFaults
  \/ f.left > 0 /\ \E i \in Ids : d[i].pr = "up" /\ DFaults(i)
  \/ f.left > 0 /\ \E i \in Ids : LFaults(i)
  \/ Rest

Spec == Init /\ [][Next]_vars

-----------------------------------------------------------------------------
(* What must hold (section 12), in every state. *)

\* At most one process writes, and only under the lock.
InvOneWriter == \A i \in Ids : d[i].srv => Up(i) /\ k.lock = i

\* What serves has opened all that was ever acknowledged.
InvNothingLost == \A i \in Ids : d[i].srv => d[i].fresh

\* No service before Commit, unless the supervisor is silent or gone (rule 5).
InvCommitFirst == \A i \in Ids : (d[i].role = "suc" /\ d[i].st \in {"taking-path", "noting-serving", "starting"}) => d[i].may

\* A supervisor never kills the last process that could serve.
InvNeverLast == ~s.last

\* Which process has the lock, and has claimed it, is named by the record as the holder, and no other is named to take it.
InvRecord == \A i \in Ids : (k.lock = i /\ Up(i) /\ d[i].st # "claiming") => k.hold = i /\ k.for = 0

\* Where the lock was freed by a seal, the record names the process that may take it (rule 3).
InvSealed == \A i \in Ids : (d[i].st \in {"sealed", "locking-to-resume", "locking-to-retire"} /\ k.hold = i) => k.for = d[i].new

\* What the supervisor reports is so, but for an end of which it has not heard.
Ended(i) == i = 0 \/ d[i].pr = "ended"
ServesOrDied(i) == d[i].srv \/ ~Up(i)
\* A newborn whose supervisor died before it was named is not answered, and leaves by itself.
Counted(i) == Begun(i) /\ d[i].st # "await-ack"
InvTruth ==
  s.st = "done" =>
    CASE s.v = "Committed" -> ServesOrDied(s.suc) /\ Ended(s.inc)
      [] s.v \in {"RolledBack", "FellBack"} -> ServesOrDied(s.inc) /\ Ended(s.suc)
      [] s.v = "NobodyServes" -> Ended(s.inc) /\ Ended(s.suc)
      [] s.v = "Serves" -> ServesOrDied(s.run) /\ \A i \in Ids \ {s.run} : ~Counted(i)
      [] s.v = "Nobody" -> \A i \in Ids : ~Counted(i)
      [] OTHER -> TRUE

\* `finalize` never runs while the predecessor lives.
InvFinal == \A i \in Ids : d[i].fin = "told" => Ended(d[i].old)

\* The journal names the process that serves before the last one is told to go.
InvJournal == (s.rt /\ ~s.nof /\ s.st = "await-retired") => j.run = s.suc

\* The control path leads to the process that serves and has said so.
InvReachable == \A i \in Ids : (d[i].srv /\ Served(d[i])) => k.path = i

=============================================================================
